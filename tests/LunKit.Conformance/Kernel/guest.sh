#!/bin/bash
# Runs in the virtual machine of eng/vm: the cases of KernelTests against the real kernel's TCMU, one after the other.
#   guest.sh ROOT LUNKIT CASE...  prints "PASS CASE" or "FAIL CASE: why"
# In the environment: RBD and GLFS, configurations of an image and a file of 32 MiB that the cases may overwrite.
# Processes are dear under emulation: shell builtins where they do.
target=/sys/kernel/config/target root=$1 lunkit=$2
shift 2
. "${BASH_SOURCE[0]%/*}/guest-tools.sh"
. "${BASH_SOURCE[0]%/*}/guest-devices.sh"

# plug NAME: a local SCSI disk of it, as $disk.
plug() {
  [[ -d $loop ]] || { mkdir -p $loop && echo -n naa.5001405000000002 >$loop/nexus; }
  mkdir -p $loop/lun/lun_0 && ln -s $target/core/user_0/$1 $loop/lun/lun_0/port && await 30 find_disk
}
find_disk() { local d; for d in /sys/bus/scsi/devices/*:0:1:0/block/*; do [[ -e $d ]] && disk=/dev/${d##*/} && return; done; return 1; }
unplug() { rm -f $loop/lun/lun_0/port && rmdir $loop/lun/lun_0; }
# with CONFIG SIZE FUNCTION: a disk for the time of a function.
with() {
  local status=0
  create d "$1" "$2" && plug d || return 1
  "$3" || status=1
  unplug && destroy d && return $status
}
verified_writes() { # SECONDS: verified random writes with a loop over the same 16 MiB
  fio --name=v --filename="$disk" --rw=randwrite --bsrange=4k-64k --size=16M --time_based --runtime="$1" --iodepth=8 --ioengine=libaio --direct=1 \
    --verify=crc32c --verify_fatal=1 --verify_backlog=64 --allow_file_create=0 --output=/tmp/fio.out
}

FileSystemSurvivesTheRoundTrip() { with "file//dev/shm/fs.img" 67108864 file_system; }
file_system() {
  mkdir -p /tmp/mnt && mkfs.ext4 -q "$disk" && mount "$disk" /tmp/mnt && cp -r /etc/ssl /tmp/mnt/ && umount /tmp/mnt &&
    fsck.ext4 -fn "$disk" && mount "$disk" /tmp/mnt && diff -r /etc/ssl /tmp/mnt/ssl && umount /tmp/mnt
}

FioVerifies() { with memory/fio 33554432 fio_now; }
fio_now() { verified_writes 4; }

KilledHandlerIsTakenOver() { with "file//dev/shm/kill.img" 33554432 kill_in_between; }
kill_in_between() {
  local writer
  verified_writes 12 &
  writer=$!
  rest 4
  kill -9 $handler
  wait $handler
  [[ -d /proc/$writer ]] || { echo "fio was done before the handler was killed"; return 1; }
  rest 2
  handler_start && wait $writer
}

StoppedHandlerIsTakenOver() { with "file//dev/shm/stop.img" 33554432 stop_in_between; }
stop_in_between() {
  local writer
  verified_writes 10 &
  writer=$!
  rest 4
  handler_stop || { echo "the handler ended with $?"; return 1; }
  [[ -d /proc/$writer ]] || { echo "fio was done before the handler was stopped"; return 1; }
  handler_start && wait $writer
}

DiskGrowsInUse() { with "file//dev/shm/grow.img" 16777216 grow; }
grow() {
  echo 33554432 >$target/core/user_0/d/attrib/dev_size && echo 1 >"/sys/block/${disk##*/}/device/rescan" &&
    [[ $(<"/sys/block/${disk##*/}/size") == 65536 ]] && dd if=/dev/zero of="$disk" bs=1M seek=31 count=1 oflag=direct status=none
}

AccessStatesAreTheKernels() { with "file//dev/shm/alua.img" 1048576 access_states; }
access_states() {
  local group=$target/core/user_0/d/alua/default_tg_pt_gp port='Relative target port: 0x' id=0x
  # Newer kernels have no number for a port of loopback: none is told then.
  [[ $(<$loop/lun/lun_0/statistics/scsi_port/indx) != 0 ]] || port= id=
  sg_inq "$disk" >/tmp/out && [[ $(</tmp/out) == *TPGS=1* ]] || { cat /tmp/out; return 1; }
  sg_vpd -p 0x83 "$disk" >/tmp/out && [[ $(</tmp/out) == *"$port"* && ( -z $port || $(</tmp/out) == *'Target port group: 0x'* ) ]] || { cat /tmp/out; return 1; }
  sg_rtpg -d "$disk" >/tmp/out && [[ $(</tmp/out) == *'asymmetric access state : 0x00'* && ( -z $id || $(</tmp/out) == *'Relative target port ids:'*0x* ) ]] || { cat /tmp/out; return 1; }
  echo 1 >$group/alua_access_state && echo 1 >$group/preferred
  # The kernel tells the change as a unit attention, once.
  sg_turs "$disk" >/tmp/out
  sg_rtpg -d "$disk" >/tmp/out && [[ $(</tmp/out) == *'Pref=1'* && $(</tmp/out) == *'asymmetric access state : 0x01'* ]] || { cat /tmp/out; return 1; }
}

AnotherConfigurationIsRefused() { with "file//dev/shm/one.img" 1048576 other_configuration; }
other_configuration() {
  ! { echo "file//dev/shm/two.img" >$target/core/user_0/d/attrib/dev_config; } 2>/tmp/error && [[ $(</tmp/error) == *'Operation not supported'* ]] && [[ ! -e /dev/shm/two.img ]]
}

# enabled_with CONFIG: whether such a backstore can be enabled; what the shell says is in /tmp/error.
refused() {
  local status=0
  { create bad "$1" 1048576; } 2>/tmp/error && status=1
  destroy bad
  cat /tmp/error
  [[ $status == 0 && $(</tmp/error) == *"$2"* ]]
}
UnknownSubtypeIsRefused() { refused nobody/x 'No such file'; }
MissingFolderIsRefused() { refused "file//nowhere/x.img" 'No such file'; }
BusyImageIsRefused() { with "file//dev/shm/busy.img" 1048576 busy_image; }
busy_image() { refused "file//dev/shm/busy.img" 'Device or resource busy'; }

CommandsWork() { with "file//dev/shm/sg.img" 16777216 commands; }
commands() {
  local c
  while read -r c; do
    $c "$disk" >/tmp/out 2>&1 || { echo "$c: $?: $(</tmp/out)"; return 1; }
  done <<'LIST'
sg_turs
sg_inq
sg_vpd -p 0x83
sg_vpd -p 0xb0
sg_vpd -p 0xb1
sg_vpd -p 0xb2
sg_readcap -l
sg_modes -a
sg_opcodes
sg_opcodes -t
sg_luns
sg_rtpg
sg_get_lba_status -l 0
sg_logs -p 0
sg_requests
sg_verify --lba=0 --count=64
sg_sync
sg_unmap --lba=0 --num=64
sg_write_same --lba=64 --num=64 --xferlen=512
sg_write_same --16 --unmap --lba=128 --num=64 --ndob
sg_persist --out --register --param-sark=0x1
sg_persist --in -k
sg_persist --out --register --param-rk=0x1
sg_start --start
LIST
  head -c 1024 /dev/zero >/tmp/caw && sg_compare_and_write --in=/tmp/caw --lba=0 --num=1 --xferlen=1024 "$disk"
}

RemovedDuringIo() {
  create d "file//dev/shm/gone.img" 33554432 && plug d || return 1
  verified_writes 20 &
  local writer=$! before
  await 60 has_writes || { echo "nothing writes"; return 1; }
  rest 1
  before=$(now)
  unplug && destroy d || { echo "it is not removed"; return 1; }
  (($(now) - before < 25)) || { echo "removing took $(($(now) - before)) s"; return 1; }
  # Its disk is gone: the writer ends with an error, and other devices never noticed.
  ! wait $writer && with memory/after 1048576 true
}

has_writes() { local numbers; read -ra numbers <"/sys/block/${disk##*/}/stat" && ((numbers[4] > 8)); }

EnabledWithNobodyListening() {
  handler_stop
  # The last handler made the kernel wait for replies: whoever enables a device now sleeps until a handler comes and releases it.
  create d memory/x 1048576 2>/tmp/error &
  local creator=$!
  rest 2
  handler_start && await 20 ended $creator && destroy d && with memory/x 1048576 true
}
ended() { [[ ! -d /proc/$1 ]]; }

WriteCacheFollowsTheKernel() { with "file//dev/shm/cache.img" 1048576 switch_cache; }
switch_cache() {
  echo 0 >$target/core/user_0/d/attrib/emulate_write_cache || return 1
  sg_turs "$disk"
  [[ $(sg_modes -p 8 "$disk") == *"00     88 12 00"* ]] && echo 1 >$target/core/user_0/d/attrib/emulate_write_cache && ! sg_turs "$disk" && [[ $(sg_modes -p 8 "$disk") == *"00     88 12 04"* ]]
}

NamesAreTheKernels() {
  mkdir -p $target/core/user_0/d && echo -n "dev_config=memory/n,dev_size=1048576" >$target/core/user_0/d/control &&
    echo 12345678-9abc-def0-1234-56789abcdef0 >$target/core/user_0/d/wwn/vpd_unit_serial && echo 1 >$target/core/user_0/d/enable && plug d || return 1
  sg_vpd -p 0x83 "$disk" >/tmp/out
  sg_vpd -p 0x80 "$disk" >>/tmp/out
  unplug && destroy d
  [[ $(</tmp/out) == *0x600140512345678*9abcdef012345678* && $(</tmp/out) == *12345678-9abc-def0-1234-56789abcdef0* ]] || { cat /tmp/out; return 1; }
}

# attach_start ARGUMENT...: lunkit attach; $attached is what it prints first.
attach_start() {
  : >/tmp/attach.out
  "$lunkit" attach "$@" >/tmp/attach.out 2>/tmp/attach.err &
  attacher=$!
  await 60 has_line /tmp/attach.out && read -r attached </tmp/attach.out || { cat /tmp/attach.err; return 1; }
}
has_line() { local line; read -r line <"$1"; }
attach_stop() { kill -TERM $attacher && wait $attacher; }
nothing_left() { [[ ! -e $target/core/user_0/$1 && -z $(echo $target/loopback/naa.3*) || $(echo $target/loopback/naa.3*) == *'*' ]]; }

AttachMakesADisk() {
  attach_start /dev/shm/attach.img,size=64M --name at && disk=$attached && file_system && attach_stop && nothing_left at && [[ ! -e $disk ]] &&
    # The same image, the same data.
    attach_start /dev/shm/attach.img --name at && disk=$attached && mount "$disk" /tmp/mnt && diff -r /etc/ssl /tmp/mnt/ssl && umount /tmp/mnt && attach_stop && nothing_left at
}

AttachKeepsAMountedDisk() {
  attach_start memory:32M --name busy && mkfs.ext4 -q "$attached" && mount "$attached" /tmp/mnt && kill -TERM $attacher && await 10 grep -q 'in use' /tmp/attach.err &&
    echo data >/tmp/mnt/file && ! "$lunkit" detach busy 2>/tmp/error && [[ $(</tmp/error) == *'in use'* ]] && umount /tmp/mnt && "$lunkit" detach "$attached" && await 30 ended $attacher && nothing_left busy
}

DetachAfterACrash() {
  attach_start memory:16M --name crash || return 1
  disk=$attached
  fio --name=w --filename="$disk" --rw=randwrite --bs=4k --size=16M --time_based --runtime=60 --iodepth=8 --ioengine=libaio --direct=1 --output=/tmp/fio.out &
  local writer=$! before
  rest 2
  kill -9 $attacher
  wait $attacher
  [[ $("$lunkit" detach) == *crash*gone* ]] || { echo "detach does not list it"; return 1; }
  ! "$lunkit" doctor >/tmp/doctor && [[ $(</tmp/doctor) == *'user_0/crash'*'no handler'*'lunkit detach crash'* ]] || { cat /tmp/doctor; return 1; }
  before=$(now)
  "$lunkit" detach crash || return 1
  (($(now) - before < 25)) || { echo "detaching took $(($(now) - before)) s"; return 1; }
  nothing_left crash && { wait $writer || true; } && "$lunkit" doctor >/tmp/doctor || { cat /tmp/doctor; return 1; }
}

# A disk with a write cache: the kernel flushes it when it lets go of it, and nobody is there to answer.
DetachOfAFileAfterACrash() {
  local before
  attach_start /dev/shm/crash.img,size=16M --name crash || return 1
  dd if=/dev/urandom of="$attached" bs=1M count=1 oflag=direct status=none || return 1
  kill -9 $attacher
  wait $attacher
  before=$(now)
  "$lunkit" detach crash || return 1
  (($(now) - before < 25)) || { echo "detaching took $(($(now) - before)) s"; return 1; }
  nothing_left crash && "$lunkit" doctor >/tmp/doctor || { cat /tmp/doctor; return 1; }
}

RefusedOnceCanBeMadeAgain() {
  local maker
  rm -rf /tmp/later
  { create again "file//tmp/later/x.img" 1048576; } 2>/tmp/error && { echo "it was made without its folder"; return 1; }
  mkdir /tmp/later
  # The same name, and mostly the same number; enabled once more, and made anew.
  (echo 1 >$target/core/user_0/again/enable) 2>/tmp/error &
  maker=$!
  await 20 ended $maker || { echo "the second attempt hangs"; return 1; }
  [[ $(<$target/core/user_0/again/enable) == 1 ]] || { destroy again; create again "file//tmp/later/x.img" 1048576 || { cat $log; return 1; }; }
  plug again && dd if=/dev/zero of="$disk" bs=64k count=1 oflag=direct status=none && unplug && destroy again
}

SecondHandlerLeavesTheFirstAlone() {
  local second status=0 i first=$handler
  dmesg -c >/dev/null
  create d memory/d 1048576 || return 1
  "$lunkit" handle >/tmp/second.log 2>&1 &
  second=$!
  await 20 grep -q 'LunKit handles' /tmp/second.log || status=1
  rest 3
  grep -q 'memory/d is served by another process' /tmp/second.log || { echo "the second one does not say that it waits"; status=1; }
  [[ $(<$target/core/user_0/d/action/block_dev) == *unblocked* ]] || { echo "the device is blocked"; status=1; }
  for i in 1 2 3 4 5; do create n$i memory/n 1048576 || status=1; done
  plug d && dd if=/dev/zero of="$disk" bs=64k count=1 oflag=direct status=none || status=1
  # Whoever is left takes over.
  kill -9 $first
  wait $first
  await 20 eval 'grep -q "memory/d.* is served" /tmp/second.log' || { echo "nobody takes over"; status=1; }
  timeout 20 dd if="$disk" of=/dev/null bs=64k count=1 iflag=direct status=none || status=1
  # A second answer to an event can end another wait for ever.
  rest 8
  ! dmesg | grep 'tcmu nl cmd\|Mismatched' || { echo "something was answered twice"; status=1; }
  unplug && destroy d || status=1
  for i in 1 2 3 4 5; do timeout 60 rmdir $target/core/user_0/n$i || status=1; done
  kill -TERM $second && wait $second || status=1
  handler_start || status=1
  [[ $status == 0 ]] || cat /tmp/second.log
  return $status
}

StartingHandlersEndNoWait() {
  local first=$handler second creator status=0
  dmesg -c >/dev/null
  # It stands for one that is slow: whoever enables the device waits for it.
  kill -STOP $first
  create d memory/d 1048576 2>/tmp/error &
  creator=$!
  rest 2
  attach_start memory:1M --name other || status=1
  "$lunkit" handle >/tmp/second.log 2>&1 &
  second=$!
  await 30 grep -q 'LunKit handles' /tmp/second.log || { echo "the second one does not start"; status=1; }
  rest 6
  ! ended $creator || { echo "the wait was ended: $(</tmp/error)"; status=1; }
  kill -CONT $first
  await 30 ended $creator || { echo "the wait does not end"; status=1; }
  [[ $(<$target/core/user_0/d/enable) == 1 ]] || { echo "not enabled: $(</tmp/error)"; status=1; }
  destroy d || status=1
  kill -TERM $second && wait $second || status=1
  # A wait that the second one was not told of, and whose handler dies: nobody else can end it.
  kill -STOP $first
  create d memory/d 1048576 2>/tmp/error &
  creator=$!
  rest 2
  "$lunkit" handle >/tmp/second.log 2>&1 &
  second=$!
  await 30 grep -q 'LunKit handles' /tmp/second.log || status=1
  rest 6
  ! ended $creator || { echo "the second wait was ended: $(</tmp/error)"; status=1; }
  kill -9 $first
  wait $first
  await 30 ended $creator || { echo "the wait for a handler that is gone does not end"; status=1; }
  ! dmesg | grep 'tcmu nl cmd\|Mismatched' || { echo "something was answered twice"; status=1; }
  destroy d || status=1
  create d memory/d 1048576 && destroy d || { echo "nothing can be enabled afterwards"; status=1; }
  attach_stop || status=1
  kill -TERM $second && wait $second || status=1
  handler_start || status=1
  [[ $status == 0 ]] || cat /tmp/second.log
  return $status
}

MissingImageIsNotMadeAnew() { mkdir -p /dev/shm/mount && with "file//dev/shm/mount/miss.img" 16777216 missing_image; }
missing_image() {
  dd if=/dev/urandom of=/tmp/data bs=64k count=1 status=none && dd if=/tmp/data of="$disk" bs=64k count=1 oflag=direct conv=fsync status=none || return 1
  kill -9 $handler
  wait $handler
  mv /dev/shm/mount /dev/shm/away && mkdir /dev/shm/mount
  handler_start
  await 10 logged 'miss.img is missing' || { echo "nothing says that it is missing"; return 1; }
  rest 3
  [[ ! -e /dev/shm/mount/miss.img ]] || { echo "a new image was made"; return 1; }
  [[ $(grep -c 'miss.img is missing' $log) == 1 ]] || { echo "it is said again and again"; return 1; }
  "$lunkit" doctor >/tmp/doctor && { echo "the doctor finds nothing"; return 1; }
  rmdir /dev/shm/mount && mv /dev/shm/away /dev/shm/mount
  await 10 logged 'miss.img is served' || { echo "it is not served when it is back"; return 1; }
  timeout 20 dd if="$disk" of=/tmp/back bs=64k count=1 iflag=direct status=none && cmp /tmp/data /tmp/back
}

SizeCutsNothingOff() { with "file//dev/shm/size.img" 33554432 odd_sizes; }
odd_sizes() {
  local size
  for size in 8388608 1000 33554433 0; do
    ! { echo $size >$target/core/user_0/d/attrib/dev_size; } 2>/tmp/error && [[ $(</tmp/error) == *'Invalid argument'* ]] || { echo "$size: $(</tmp/error)"; return 1; }
  done
  [[ $(<$target/core/user_0/d/attrib/dev_size) == 33554432 && $(stat -c %s /dev/shm/size.img) == 33554432 ]] && echo 50331648 >$target/core/user_0/d/attrib/dev_size
}
AttachKeepsItsSize() {
  attach_start /dev/shm/keep.img,size=32M --name keep || return 1
  echo 8388608 >$target/core/user_0/keep/attrib/dev_size
  await 10 size_is keep 33554432 || { echo "kernel and handler disagree: $(<$target/core/user_0/keep/attrib/dev_size)"; return 1; }
  [[ $(stat -c %s /dev/shm/keep.img) == 33554432 ]] && attach_stop && nothing_left keep
}
size_is() { [[ $(<$target/core/user_0/$1/attrib/dev_size) == $2 ]]; }

SameConfigurationIsTaken() { with "file//dev/shm/same.img" 1048576 same_configuration; }
same_configuration() { echo "file//dev/shm/same.img" >$target/core/user_0/d/attrib/dev_config; }

AllPortsAreSeen() { with "file//dev/shm/ports.img" 1048576 two_ports; }
two_ports() {
  local members status=0
  mkdir -p $loop/lun/lun_1 && ln -s $target/core/user_0/d $loop/lun/lun_1/port && rest 1
  members=$(tr '\0' '\n' <$target/core/user_0/d/alua/default_tg_pt_gp/members | grep -c lun_)
  # Another LUN is there: a unit attention, once.
  sg_turs "$disk" >/tmp/out 2>&1
  sg_rtpg -d "$disk" >/tmp/out || status=1
  # Newer kernels have no number for a port of loopback: then none is told.
  if [[ $(<$loop/lun/lun_1/statistics/scsi_port/indx) != 0 ]]; then [[ $members == 2 && $(grep -c '^ *0x' /tmp/out) == 2 ]] || status=1; fi
  sg_vpd -p 0x83 "$disk" >>/tmp/out
  ! grep -q 'Relative target port: 0x0$' /tmp/out || status=1
  [[ $status == 0 ]] || cat /tmp/out
  rm $loop/lun/lun_1/port && rmdir $loop/lun/lun_1 && return $status
}

AttachRefusesClearly() {
  attach_start memory:1M --name once || return 1
  ! "$lunkit" attach memory:1M --name once 2>/tmp/error && [[ $(</tmp/error) == *'attached already'* ]] &&
    ! "$lunkit" attach /nowhere/x.img,size=1M 2>/tmp/error && [[ $(</tmp/error) == *nowhere* ]] &&
    ! "$lunkit" detach nobody 2>/tmp/error && [[ $(</tmp/error) == *'not attached'* ]] && attach_stop && nothing_left once
}

# iscsi_login IQN PORT: by the kernel's initiator; the disk is $disk.
iscsi_login() {
  if [[ ! -d /run/lock/iscsi ]]; then
    mkdir -p /run/lock/iscsi /etc/iscsi && echo InitiatorName=iqn.2026-11.local.lunkit:initiator >/etc/iscsi/initiatorname.iscsi
    iscsid -f >/tmp/iscsid.log 2>&1 &
    rest 1
  fi
  iscsiadm -m node -T $1 -p 127.0.0.1:$2 -o new && iscsiadm -m node -T $1 -p 127.0.0.1:$2 --login && await 30 find_iscsi_disk
}

KernelIscsiTargetExports() {
  local iqn=iqn.2026-11.local.lunkit:vm status=0
  attach_start /dev/shm/iscsi.img,size=64M --name exported --iscsi $iqn || return 1
  iscsi_login $iqn 3260 && file_system && verified_writes 3 || status=1
  iscsiadm -m node -T $iqn -p 127.0.0.1:3260 --logout
  attach_stop && [[ ! -e $target/iscsi/$iqn && ! -e $target/core/user_0/exported ]] && return $status
}
find_iscsi_disk() { local d; for d in /sys/class/iscsi_session/session*/device/target*/*:0:0:0/block/*; do [[ -e $d ]] && disk=/dev/${d##*/} && return; done; return 1; }

# The same binary is the target, its handler, and the kernel's handler; the kernel's initiator uses the target while its handler is killed.
UserSpaceTargetServesTheSameHandlers() {
  local iqn=iqn.2026-11.local.lunkit:disk status=0 server user writer
  "$lunkit" serve user:file//dev/shm/user.img,size=64M --portal 127.0.0.1:3261 --handlers @vm >/tmp/serve.log 2>&1 &
  server=$!
  "$lunkit" handle --target @vm >/tmp/user.log 2>&1 &
  user=$!
  await 30 grep -q '^LunKit serves' /tmp/serve.log && iscsi_login $iqn 3261 && file_system || status=1
  verified_writes 8 &
  writer=$!
  rest 3
  kill -9 $user
  wait $user
  "$lunkit" handle --target @vm >/tmp/user.log 2>&1 &
  user=$!
  wait $writer || status=1
  with memory/beside 1048576 true || status=1
  iscsiadm -m node -T $iqn -p 127.0.0.1:3261 --logout
  kill -TERM $user && wait $user && kill -TERM $server && wait $server || status=1
  [[ $status == 0 ]] || cat /tmp/serve.log /tmp/user.log
  return $status
}

# sample NAME WORD: starts samples/NAME, which says nothing; it is there when it has a device open.
sample() { dotnet "$root/artifacts/bin/$1/release/$1.dll" >/tmp/sample.log 2>&1 & sampler=$!; }
sample_stop() { kill -TERM $sampler && wait $sampler; }

# As tcmu-runner's users have them. The handler that is killed had the image's lock.
RbdImageIsADisk() { with "$RBD" 33554432 cluster_disk; }
KilledRbdHandlerIsTakenOver() { with "$RBD" 33554432 kill_in_between; }
GlusterFileIsADisk() { with "$GLFS" 33554432 cluster_disk; }
KilledGlusterHandlerIsTakenOver() { with "$GLFS" 33554432 kill_in_between; }
cluster_disk() {
  file_system && sg_unmap --lba=0 --num=64 "$disk" && sg_write_same --16 --lba=64 --num=64 --xferlen=512 "$disk" &&
    head -c 1024 /dev/zero >/tmp/caw && sg_compare_and_write --in=/tmp/caw --lba=0 --num=1 --xferlen=1024 "$disk" && verified_writes 3
}

SampleHandlersAnswer() {
  sample HelloHandler
  # The handler takes up what is there when it starts, and nobody waits for it before.
  mkdir -p $target/core/user_0/d && echo -n "dev_config=hello/world,dev_size=1048576,nl_reply_supported=-1" >$target/core/user_0/d/control && echo 1 >$target/core/user_0/d/enable || return 1
  await 60 is_handled && plug d && [[ $(head -c 31 "$disk") == 'Hello from world, block 0!     ' ]] || { cat /tmp/sample.log; return 1; }
  unplug && destroy d && sample_stop || return 1
  sample RawHandler
  mkdir -p $target/core/user_0/d && echo -n "dev_config=raw/x,dev_size=1048576,nl_reply_supported=-1" >$target/core/user_0/d/control && echo 1 >$target/core/user_0/d/enable || return 1
  await 60 is_handled && plug d && [[ $(od -An -tx1 -N4 -j1536 "$disk") == ' 00 00 00 03' ]] && sg_raw -r 4 "$disk" c0 00 00 00 00 00 00 00 00 00 && ! sg_raw -r 4 "$disk" c1 00 00 00 00 00 00 00 00 00 &&
    sg_inq "$disk" || { cat /tmp/sample.log; return 1; }
  unplug && destroy d && sample_stop
}
is_handled() { local f; for f in /proc/$sampler/fd/*; do [[ $(readlink "$f") == /dev/uio* ]] && return; done; return 1; }

TargetcliWorks() {
  handler_stop
  mkdir -p /run/dbus && cp "$root/packaging/dbus/org.lunkit.Handler.conf" /etc/dbus-1/system.d/ && dbus-daemon --system --fork --nopidfile && handler_start || return 1
  printf '%s\n' '/backstores ls' '/backstores/user:file create cli 16M /dev/shm/cli.img' '/backstores/user:file create bad 16M /nowhere/x.img' \
    '/loopback create naa.5001405000000009' '/loopback/naa.5001405000000009/luns create /backstores/user:file/cli' '/ ls' exit | targetcli >/tmp/cli 2>&1
  [[ $(</tmp/cli) == *'user:file'* && $(</tmp/cli) == *'Created user-backed storage object cli'* && $(</tmp/cli) == *'folder /nowhere does not exist'* && -e /dev/shm/cli.img && ! -e /nowhere ]] || { cat /tmp/cli; return 1; }
  printf '%s\n' '/loopback delete naa.5001405000000009' '/backstores/user:file delete cli' exit | targetcli >>/tmp/cli 2>&1
  ! ls $target/core/user_*/cli >/dev/null 2>&1 || { cat /tmp/cli; return 1; }
}

# The kernel keeps persistent reservations in files of this folder, which it does not make.
mkdir -p "$(<$target/dbroot)/pr" /var/target/pr
handler_start || { echo "the handler does not start: $(<$log)"; exit 1; }
for case in "$@"; do
  if $case >/tmp/case 2>&1; then echo "PASS $case"; else echo "FAIL $case: $(tail -c 1500 /tmp/case /tmp/fio.out $log 2>/dev/null | tr '\n' '~')"; fi
done
if handler_stop; then echo "PASS HandlerEndsClean"; else echo "FAIL HandlerEndsClean: status $?"; fi
