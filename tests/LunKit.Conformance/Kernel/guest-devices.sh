# To be sourced by guest.sh: block devices, the kernel's scsi_debug behind pscsi, full file systems.

BlockDeviceKeepsTheContract() {
  truncate -s 16M /dev/shm/loop.img
  local loop status=0
  loop=$(losetup -f --show /dev/shm/loop.img) || return 1
  "$lunkit" check "block:$loop" --overwrite --size 4M --steps 150 || status=1
  losetup -d "$loop"
  return $status
}
# debug OPTION...: a device of the kernel's scsi_debug; its generic node as $generic.
debug() {
  modprobe scsi_debug delay=0 "$@" && await 20 find_debug
}
find_debug() {
  local g
  for g in /sys/class/scsi_generic/*; do [[ $(<"$g/device/model") == scsi_debug* ]] && generic=/dev/${g##*/} && return; done
  return 1
}
PassThroughDiskKeepsTheContract() {
  local status=0
  debug dev_size_mb=8 lbpu=1 lbpws=1 || return 1
  "$lunkit" check "pscsi:$generic" --overwrite --size 2M --steps 100 || status=1
  await 20 modprobe -r scsi_debug || status=1
  return $status
}
fails_and_keeps_contract() { "$lunkit" check "$@" --overwrite --steps 50 >/tmp/out 2>&1 && [[ $(</tmp/out) == *'operations failed'* && $(</tmp/out) != *': 0 of '* ]] || { cat /tmp/out; return 1; }; }
# The disk fails every third command for a while (it does only with a delay).
PassThroughFailuresKeepTheContract() {
  local status=0 knobs=/sys/bus/pseudo/drivers/scsi_debug
  debug delay=1 dev_size_mb=8 lbpu=1 lbpws=1 || return 1
  fails_and_keeps_contract "pscsi:$generic" --size 2M --break "echo 16 >$knobs/opts; echo 3 >$knobs/every_nth" --mend "echo 0 >$knobs/every_nth; echo 0 >$knobs/opts" || status=1
  await 20 modprobe -r scsi_debug || status=1
  return $status
}
# A thin image on a file system that is full for a while. What the load frees meanwhile is taken again and again: else the load might never want more
# than it has freed.
FullFileSystemKeepsTheContract() {
  local status=0
  mkdir -p /tmp/full && mount -t tmpfs -o size=6M full /tmp/full || return 1
  fails_and_keeps_contract file:/tmp/full/disk.img,size=8M --size 4M --break 'for i in $(seq 20); do cat /dev/zero >>/tmp/full/rest; done 2>/dev/null; true' --mend 'rm /tmp/full/rest' || status=1
  umount /tmp/full
  return $status
}
PassThroughDiskAnswers() {
  local status=0
  debug dev_size_mb=16 lbpu=1 lbpws=1 || return 1
  with "pscsi/$generic" 16777216 passed_disk || status=1
  await 20 modprobe -r scsi_debug || status=1
  return $status
}
passed_disk() {
  local c
  sg_inq "$disk" >/tmp/out && [[ $(</tmp/out) == *'Vendor identification: Linux'* ]] || { cat /tmp/out; return 1; }
  while read -r c; do
    $c "$disk" >/tmp/out 2>&1 || { echo "$c: $?: $(</tmp/out)"; return 1; }
  done <<'LIST'
sg_turs
sg_vpd -p 0x83
sg_vpd -p 0xb0
sg_vpd -p 0xb2
sg_readcap -l
sg_modes -a
sg_opcodes
sg_luns
sg_rtpg
sg_get_lba_status -l 0
sg_requests
sg_sync
sg_unmap --lba=0 --num=64
sg_write_same --16 --lba=64 --num=64 --xferlen=512
sg_verify --lba=0 --count=64
sg_start --start
LIST
  # Sense comes back as it is, and what the policy refuses does not reach the device.
  ! sg_raw -r 512 "$disk" 28 00 7f ff ff ff 00 00 01 00 >/tmp/out 2>&1 && [[ $(</tmp/out) == *'Logical block address out of range'* ]] || { cat /tmp/out; return 1; }
  ! sg_raw "$disk" c0 00 00 00 00 00 >/tmp/out 2>&1 && [[ $(</tmp/out) == *'Invalid command operation code'* ]] && logged 'command C0h is not passed' || { cat /tmp/out; return 1; }
  # Who has it has it alone.
  ! "$lunkit" check "pscsi:$generic" --overwrite >/tmp/out 2>&1 && [[ $(</tmp/out) == *'is in use'* ]] || { cat /tmp/out; return 1; }
  verified_writes 3
}
PassThroughTapeAnswers() {
  local status=0
  debug ptype=1 dev_size_mb=8 || return 1
  create d "pscsi/$generic" 1048576 && plug_tape && passed_tape || status=1
  unplug && destroy d || status=1
  await 20 modprobe -r scsi_debug || status=1
  return $status
}
plug_tape() {
  [[ -d $loop ]] || { mkdir -p $loop && echo -n naa.5001405000000002 >$loop/nexus; }
  mkdir -p $loop/lun/lun_0 && ln -s $target/core/user_0/d $loop/lun/lun_0/port && await 30 find_tape
}
find_tape() { local t; for t in /sys/bus/scsi/devices/*:0:1:0/scsi_tape/nst?; do [[ -e $t ]] && tape=/dev/${t##*/} && return; done; return 1; }
passed_tape() {
  sg_inq "$tape" >/tmp/out && [[ $(</tmp/out) == *'device_type=1'* || $(</tmp/out) == *tape* ]] || { cat /tmp/out; return 1; }
  mt -f "$tape" status >/tmp/out 2>&1 && [[ $(</tmp/out) == *"tape drive"*ONLINE* ]] && mt -f "$tape" rewind || { cat /tmp/out; return 1; }
}

# A signal ends the wait of SG_IO on a generic node, and the kernel would give the device the command a second time.
PassThroughRunsACommandOnce() {
  local status=0
  debug dev_size_mb=16 || return 1
  with "pscsi/$generic" 16777216 runs_once || status=1
  await 20 modprobe -r scsi_debug || status=1
  return $status
}
runs_once() {
  local count before reader knobs=/sys/bus/pseudo/drivers/scsi_debug
  # The kernel may still look for partitions.
  await 60 settled && before=$count && echo 600 >$knobs/delay || return 1
  dd if="$disk" of=/dev/null bs=4096 count=1 iflag=direct status=none &
  reader=$!
  rest 1
  [[ -d /proc/$reader ]] && kill -STOP $handler && rest 0.3 && kill -CONT $handler && wait $reader && count_commands || return 1
  echo 0 >$knobs/delay
  ((count == before + 1)) || { echo "one read was $((count - before)) commands"; return 1; }
}
settled() { local was; count_commands && was=$count && rest 1 && count_commands && ((count == was)); }
# count_commands: how many the kernel has given to the device, as $count.
count_commands() { count=$(($(<"/sys/class/scsi_generic/${generic##*/}/device/iorequest_cnt"))); }
