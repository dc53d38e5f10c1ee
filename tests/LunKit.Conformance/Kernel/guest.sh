#!/bin/bash
# Runs in the virtual machine of eng/vm: the cases of KernelTests against the real kernel's TCMU, one after the other.
#   guest.sh LUNKIT CASE...       prints "PASS CASE" or "FAIL CASE: why"
# Processes are dear under emulation: shell builtins where they do.
target=/sys/kernel/config/target lunkit=$1
shift
loop=$target/loopback/naa.5001405000000001/tpgt_1
log=/tmp/handle.log

now() { local seconds; read -r seconds _ </proc/uptime; echo "${seconds%.*}"; }
rest() { read -rt "$1" <> <(:) || true; }
await() { local end=$(($(now) + $1)); shift; until "$@" >/dev/null 2>&1; do (($(now) < end)) || return 1; rest 0.1; done; }
logged() { [[ $(<$log) == *"$1"* ]]; }
handler_start() {
  : >$log
  "$lunkit" handle >>$log 2>&1 &
  handler=$!
  await 20 logged 'LunKit handles'
}
handler_stop() { kill -TERM $handler && wait $handler; }
# create NAME CONFIG SIZE: the backstore, enabled.
create() { mkdir -p $target/core/user_0/$1 && echo -n "dev_config=$2,dev_size=$3" >$target/core/user_0/$1/control && echo 1 >$target/core/user_0/$1/enable; }
destroy() { rmdir $target/core/user_0/$1; }
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
    --verify=crc32c --verify_fatal=1 --verify_backlog=64 --output=/tmp/fio.out
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
MissingFolderIsRefused() { refused "file//nowhere/x.img" 'Input/output'; }
BusyImageIsRefused() { with "file//dev/shm/busy.img" 1048576 busy_image; }
busy_image() { refused "file//dev/shm/busy.img" 'Input/output'; }

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

# The kernel keeps persistent reservations in files of this folder, which it does not make.
mkdir -p "$(<$target/dbroot)/pr" /var/target/pr
handler_start || { echo "the handler does not start: $(<$log)"; exit 1; }
for case in "$@"; do
  if $case >/tmp/case 2>&1; then echo "PASS $case"; else echo "FAIL $case: $(tail -c 1500 /tmp/case /tmp/fio.out $log 2>/dev/null | tr '\n' '~')"; fi
done
if handler_stop; then echo "PASS HandlerEndsClean"; else echo "FAIL HandlerEndsClean: status $?"; fi
