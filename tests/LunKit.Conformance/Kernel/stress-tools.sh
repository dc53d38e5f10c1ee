# To be sourced by stress.sh: limits on what is done, the model of the disks, and the load beside it.
images=/dev/shm/images models=/tmp/models

declare -A size lun written counts
step=0 last=none
fail() {
  local clock
  tick
  echo "FAIL: step $step, $last: $* (after $clock s, $(date +%T))"
  tail -n 15 /tmp/handle.log /tmp/second.log 2>/dev/null
  dmesg | tail -n 15
  exit 1
}
# Where everything sleeps that sleeps in the kernel and cannot be ended.
stacks() {
  local task text
  for task in /proc/[0-9]*/task/[0-9]*; do
    read -r text 2>/dev/null <"$task/stat" || continue
    [[ ${text##*) } == D* ]] || continue
    echo "== ${task#/proc/} ($(<"$task/comm")) sleeps in"
    cat "$task/stack"
  done 2>/dev/null
}
# hang PID WHAT: it did not end in its time.
hang() {
  echo "== $1 ($(cat /proc/$1/comm)) sleeps in"
  cat /proc/$1/stack
  stacks
  fail "hangs: ${*:2} ($(cat /proc/$1/wchan 2>/dev/null))"
}
# limit SECONDS COMMAND...: runs it; what does not end is a hang, also when nothing can kill it. A function may not change the model.
limit() {
  local seconds=$1 pid
  shift
  "$@" >/tmp/limited 2>&1 &
  pid=$!
  await "$seconds" ended $pid || hang $pid "$*"
  wait $pid
}
# Also where this shell has not taken note of it yet.
ended() { local text; read -r text 2>/dev/null </proc/$1/stat || return 0; [[ ${text##*) } == Z* ]]; }
# ends PID SECONDS WHAT: a child that was told to end, or killed; its status.
ends() { await "$2" ended "$1" || hang "$1" "$3"; wait "$1" 2>/dev/null; }
pick() { local names=("$@"); picked=${names[RANDOM % ${#names[@]}]}; }
put() { echo "$1" >"$2"; }
disk_of() { local d; for d in /sys/bus/scsi/devices/*:0:1:"${lun[$1]}"/block/*; do [[ -e $d ]] && disk=/dev/${d##*/} && return; done; return 1; }
# Its folder in configfs: targetcli gives each backstore a number of its own.
at() { local all=($target/core/user_*/"$1"); folder=${all[0]}; [[ -d $folder ]]; }

# enable FOLDER CONFIG BYTES
enable() { echo -n "dev_config=$2,dev_size=$3" >$1/control && echo 1 >$1/enable; }
# make NAME CONFIG BYTES: a backstore, in an adapter of its own, as targetcli makes them.
make() {
  local n=1
  while [[ -d $target/core/user_$n ]]; do ((n++)); done
  folder=$target/core/user_$n/$1
  limit 60 mkdir -p $folder || fail "mkdir $1: $(</tmp/limited)"
  limit 60 enable $folder "$2" $3 || fail "$1 cannot be made: $(</tmp/limited)"
  size[$1]=$3 written[$1]=
  : >"$models/$1"
}
# plug NAME LUN
plug() {
  at "$1" || fail "$1 is not there"
  [[ -d $loop ]] || { limit 30 mkdir -p $loop && limit 30 put naa.5001405000000002 $loop/nexus || fail "no loopback target: $(</tmp/limited)"; }
  limit 60 mkdir -p $loop/lun/lun_$2 && limit 100 ln -s $folder $loop/lun/lun_$2/port || fail "linking $1: $(</tmp/limited)"
  lun[$1]=$2
  await 60 disk_of "$1" || fail "$1 has no disk after 60 s"
}
unplug() {
  limit 100 rm $loop/lun/lun_${lun[$1]}/port && limit 60 rmdir $loop/lun/lun_${lun[$1]} || fail "unlinking $1: $(</tmp/limited)"
  unset "lun[$1]"
}
# unmake NAME [IMAGE]
unmake() {
  at "$1" || fail "$1 is not there"
  limit 100 rmdir $folder ${folder%/*} || fail "removing $1: $(</tmp/limited)"
  unset "size[$1]" "written[$1]"
  rm -f "$models/$1" ${2:+"$2" "$2.lunkit-state"}
}

# Blocks of 64 KiB; the model is a file of the same content. begin_write NAME [BLOCK]: goes on beside what follows; end_write says how it ended.
begin_write() {
  began=$1 block=${2:-$((RANDOM % (size[$1] / 65536)))}
  head -c 65536 /dev/urandom >/tmp/begun
  disk_of "$1" || fail "$1 has no disk"
  dd if=/tmp/begun of="$disk" bs=64k seek="$block" count=1 oflag=direct conv=notrunc >/tmp/writing 2>&1 &
  writer=$!
}
end_write() {
  await 150 ended $writer || hang $writer "writing $began"
  # What is there after a failure is not known.
  wait $writer || { written[$began]=" ${written[$began]} " && written[$began]=${written[$began]// $block / }; return 1; }
  dd if=/tmp/begun of="$models/$began" bs=64k seek="$block" count=1 conv=notrunc status=none
  [[ " ${written[$began]} " == *" $block "* ]] || written[$began]+=" $block"
}
write_block() { begin_write "$@"; end_write || fail "writing $1: $(</tmp/writing)"; }
check_block() { # NAME BLOCK
  disk_of "$1" || fail "$1 has no disk"
  limit 150 dd if="$disk" of=/tmp/back bs=64k skip="$2" count=1 iflag=direct || fail "reading $1: $(</tmp/limited)"
  dd if="$models/$1" of=/tmp/block bs=64k skip="$2" count=1 status=none
  cmp -s /tmp/back /tmp/block || fail "block $2 of $1 is not what was written"
}
check_some() { local blocks=(${written[$1]:-}); ((${#blocks[@]})) || return 0; pick "${blocks[@]}"; check_block "$1" "$picked"; }
check_all() { local block; for block in ${written[$1]:-}; do check_block "$1" "$block"; done; }
some_disk() { ((${#lun[@]})) && pick "${!lun[@]}" && name=$picked; }
some_device() { ((${#size[@]})) && pick "${!size[@]}" && name=$picked; }

# Verified writes on a disk of its own, all the time. It waits longer than other disks for a handler that is away: it shall see every absence.
load_start() {
  make load "file/$images/load" 8388608
  limit 30 put 300 $folder/attrib/cmd_time_out || fail "cmd_time_out: $(</tmp/limited)"
  plug load 20
  put 600 "/sys/block/${disk##*/}/device/timeout"
  # It is in no list that an action picks from.
  load_disk=$disk load_lun=${lun[load]} load_size=${size[load]}
  unset "lun[load]" "size[load]" "written[load]"
  load_on
}
load_on() { rm -f /tmp/load.failed; [[ -e /tmp/load.rounds ]] || echo 0 >/tmp/load.rounds; : >/tmp/load.go; load_loop & loader=$!; }
load_loop() {
  local fio status
  while [[ -e /tmp/load.go ]]; do
    fio --name=load --filename="$load_disk" --rw=randwrite --bsrange=4k-64k --size=8M --time_based --runtime=40 --rate_iops=12 --iodepth=4 --ioengine=libaio \
      --direct=1 --verify=crc32c --verify_fatal=1 --verify_backlog=32 --allow_file_create=0 --output=/tmp/load.out >/tmp/load.err 2>&1 &
    fio=$!
    while [[ -d /proc/$fio && -e /tmp/load.go ]]; do rest 1; done
    [[ -e /tmp/load.go ]] || kill -INT $fio 2>/dev/null
    wait $fio
    status=$?
    # It says 128 when it was told to end.
    if grep -q 'verify:\|error=' /tmp/load.out /tmp/load.err || [[ $status != 0 && -e /tmp/load.go ]]; then cat /tmp/load.out /tmp/load.err >/tmp/load.failed; return 1; fi
    echo $(($(</tmp/load.rounds) + 1)) >/tmp/load.rounds
  done
}
load_check() { [[ ! -e /tmp/load.failed ]] || fail "the load: $(head -c 3000 /tmp/load.failed)"; }
load_off() { rm -f /tmp/load.go; ends $loader 200 "the load"; load_check; }
load_stop() {
  load_off
  lun[load]=$load_lun size[load]=$load_size
  unplug load
  unmake load $images/load
}
