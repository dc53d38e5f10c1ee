#!/bin/bash
# Runs in the virtual machine of eng/vm: random actions of an operator on devices of the real kernel's TCMU, and a model of what must be true.
#   stress.sh ROOT LUNKIT STEPS SEED     the last line says "PASS" or "FAIL: why"
# Every command has a limit; every block that was written is compared with what it must be; nothing is left at the end.
target=/sys/kernel/config/target root=$1 lunkit=$2 steps=$3
RANDOM=$4
. "${BASH_SOURCE[0]%/*}/guest-tools.sh"
images=/dev/shm/images models=/tmp/models
mkdir -p $images $models "$(<$target/dbroot)/pr" /var/target/pr

declare -A size lun written
step=0 last=none
fail() { echo "FAIL: step $step, $last: $*"; tail -n 20 $log /tmp/second.log 2>/dev/null; exit 1; }
# limit SECONDS COMMAND...: runs it; one that does not end is a hang, also when nothing can kill it.
limit() {
  local seconds=$1 pid
  shift
  "$@" >/tmp/limited 2>&1 &
  pid=$!
  await "$seconds" ended $pid || fail "hangs: $* ($(cat /proc/$pid/wchan 2>/dev/null))"
  wait $pid
}
ended() { [[ ! -d /proc/$1 ]]; }
pick() { local names=("$@"); picked=${names[RANDOM % ${#names[@]}]}; }
disk_of() { local d; for d in /sys/bus/scsi/devices/*:0:1:"${lun[$1]}"/block/*; do [[ -e $d ]] && disk=/dev/${d##*/} && return; done; return 1; }
enable() { echo -n "dev_config=$2,dev_size=$3" >$target/core/user_0/$1/control && echo 1 >$target/core/user_0/$1/enable; }

# Blocks of 64 KiB; the model is a file of the same content.
write_block() { # NAME
  local block=$((RANDOM % (size[$1] / 65536)))
  head -c 65536 /dev/urandom >/tmp/block
  disk_of "$1" || fail "$1 has no disk"
  limit 100 dd if=/tmp/block of="$disk" bs=64k seek=$block count=1 oflag=direct conv=notrunc || fail "writing $1: $(</tmp/limited)"
  dd if=/tmp/block of="$models/$1" bs=64k seek=$block count=1 conv=notrunc status=none
  written[$1]+=" $block"
}
check_block() { # NAME
  local blocks=(${written[$1]:-})
  ((${#blocks[@]})) || return 0
  pick "${blocks[@]}"
  disk_of "$1" || fail "$1 has no disk"
  limit 100 dd if="$disk" of=/tmp/back bs=64k skip="$picked" count=1 iflag=direct || fail "reading $1: $(</tmp/limited)"
  dd if="$models/$1" of=/tmp/block bs=64k skip="$picked" count=1 status=none
  cmp -s /tmp/back /tmp/block || fail "block $picked of $1 is not what was written"
}

act_create() {
  ((${#size[@]} < 8)) || return 0
  local name=d$((RANDOM % 16)) bytes=$(((RANDOM % 64 + 16) * 65536))
  [[ -z ${size[$name]:-} ]] || return 0
  limit 30 mkdir -p $target/core/user_0/$name || fail "mkdir $name"
  limit 30 enable $name "file/$images/$name" $bytes || fail "$name cannot be made: $(</tmp/limited)"
  size[$name]=$bytes written[$name]=
  : >"$models/$name"
}
act_refused() {
  local config
  pick nobody/x "file//nowhere/x" "file/$images"
  config=$picked
  limit 30 mkdir -p $target/core/user_0/bad || fail "mkdir bad"
  ! limit 30 enable bad "$config" 1048576 || fail "$config is served"
  # The same name, rightly, and at once.
  if ((RANDOM % 2)); then limit 30 enable bad "memory/x" 1048576 || fail "bad cannot be made good: $(</tmp/limited)"; fi
  limit 30 rmdir $target/core/user_0/bad || fail "rmdir bad"
}
act_link() {
  local name n
  ((${#size[@]})) || return 0
  pick "${!size[@]}"
  name=$picked
  [[ -z ${lun[$name]:-} ]] || return 0
  n=${name#d}
  [[ -d $loop ]] || { mkdir -p $loop && echo -n naa.5001405000000002 >$loop/nexus; }
  limit 30 mkdir -p $loop/lun/lun_$n && limit 60 ln -s $target/core/user_0/$name $loop/lun/lun_$n/port || fail "linking $name"
  lun[$name]=$n
  await 40 disk_of "$name" || fail "$name has no disk after 40 s"
}
act_unlink() {
  ((${#lun[@]})) || return 0
  pick "${!lun[@]}"
  local n=${lun[$picked]}
  limit 60 rm $loop/lun/lun_$n/port && limit 30 rmdir $loop/lun/lun_$n || fail "unlinking $picked"
  unset "lun[$picked]"
}
act_destroy() {
  local name
  ((${#size[@]})) || return 0
  pick "${!size[@]}"
  name=$picked
  [[ -z ${lun[$name]:-} ]] || return 0
  limit 60 rmdir $target/core/user_0/$name || fail "removing $name"
  unset "size[$name]" "written[$name]"
  rm -f "$images/$name" "$images/$name".lunkit-state "$models/$name"
}
act_write() { ((${#lun[@]})) && pick "${!lun[@]}" && write_block "$picked"; }
act_check() { ((${#lun[@]})) && pick "${!lun[@]}" && check_block "$picked"; }
act_grow() {
  local name bytes
  ((${#size[@]})) || return 0
  pick "${!size[@]}"
  name=$picked bytes=$((size[$name] + (RANDOM % 8 + 1) * 65536))
  limit 30 sh -c "echo $bytes >$target/core/user_0/$name/attrib/dev_size" || fail "$name does not grow: $(</tmp/limited)"
  size[$name]=$bytes
  [[ -z ${lun[$name]:-} ]] || { disk_of "$name" && echo 1 >"/sys/block/${disk##*/}/device/rescan"; }
}
act_shrink() {
  ((${#size[@]})) || return 0
  pick "${!size[@]}"
  ! limit 30 sh -c "echo $((size[$picked] - 512 * (RANDOM % 100 + 1))) >$target/core/user_0/$picked/attrib/dev_size" || fail "$picked was cut off"
  [[ $(stat -c %s "$images/$picked") -ge ${size[$picked]} ]] || fail "the image of $picked is shorter"
}
act_rewrite() {
  ((${#size[@]})) || return 0
  pick "${!size[@]}"
  limit 30 sh -c "echo file/$images/$picked >$target/core/user_0/$picked/attrib/dev_config" || fail "the configuration of $picked is refused: $(</tmp/limited)"
}
# Somebody writes while the handler is killed, or stopped: the write ends well behind the next one's start.
act_crash() {
  local writer="" name
  if ((${#lun[@]})); then pick "${!lun[@]}" && name=$picked && { write_block "$name" & writer=$!; }; fi
  kill -9 $handler
  wait $handler 2>/dev/null
  handler_start || fail "no handler starts: $(<$log)"
  [[ -z $writer ]] || wait $writer || exit 1
  [[ -z $writer ]] || forget "$name"
}
# What a child of this shell has written it alone knows: such blocks are written anew.
forget() { written[$1]=; for _ in 1 2; do write_block "$1"; done; }
act_restart() { limit 30 handler_end || fail "the handler does not end"; wait $handler 2>/dev/null; handler_start || fail "no handler starts"; }
handler_end() { kill -TERM $handler && await 25 ended_or_zombie $handler; }
ended_or_zombie() { [[ ! -d /proc/$1 || $(cut -d' ' -f3 /proc/$1/stat) == Z ]]; }
act_pause() { kill -STOP $handler && rest 1; kill -CONT $handler; }
act_second() {
  "$lunkit" handle >/tmp/second.log 2>&1 &
  local second=$!
  await 30 grep -q 'LunKit handles' /tmp/second.log || fail "the second handler does not start"
  ((RANDOM % 2)) && act_create
  ((RANDOM % 2)) && act_write
  kill -TERM $second
  await 30 ended_or_zombie $second || fail "the second handler does not end"
  wait $second
}
act_away() {
  local name
  kill -9 $handler
  wait $handler 2>/dev/null
  mv $images $images.away && mkdir $images
  handler_start || fail "no handler starts"
  rest 3
  [[ -z $(ls $images) ]] || fail "images were made anew: $(ls $images)"
  rmdir $images && mv $images.away $images
  for name in "${!size[@]}"; do await 20 served "$name" || fail "$name is not served when its image is back"; done
}
served() { grep -q "/0/$1/file/.* is served" $log; }
act_doctor() { limit 40 "$lunkit" doctor; grep -q 'blocked\|waits in the kernel' /tmp/limited && fail "the doctor: $(</tmp/limited)"; true; }
act_attach() {
  rm -f /dev/shm/at.img
  "$lunkit" attach /dev/shm/at.img,size=4M --name at >/tmp/attach.out 2>/tmp/attach.err &
  local attacher=$!
  await 60 test -s /tmp/attach.out || fail "attach: $(</tmp/attach.err)"
  if ((RANDOM % 2)); then kill -9 $attacher; else kill -TERM $attacher && await 30 ended_or_zombie $attacher; fi
  wait $attacher 2>/dev/null
  [[ ! -d $target/core/user_0/at ]] || limit 40 "$lunkit" detach at || fail "detach: $(</tmp/limited)"
  [[ ! -d $target/core/user_0/at ]] || fail "at is left"
}

actions=(create create create link link link link link link write write write write write write write check check check check grow shrink rewrite unlink destroy refused crash restart pause second away doctor attach)
handler_start || fail "the handler does not start"
descriptors() { ls /proc/$handler/fd | wc -l; }
before=$(descriptors)
for ((step = 1; step <= steps; step++)); do
  pick "${actions[@]}"
  last=$picked
  act_$last
  ((step % 50)) || echo "step $step: ${#size[@]} devices, ${#lun[@]} disks"
done
last=end
while ((${#lun[@]})); do for picked in "${!lun[@]}"; do check_block "$picked"; done; act_unlink; done
while ((${#size[@]})); do act_destroy; done
[[ -z $(ls -d $target/core/user_0/*/ 2>/dev/null) ]] || fail "left in configfs: $(ls $target/core/user_0)"
[[ -z $(ls /sys/class/uio 2>/dev/null) ]] || fail "left in uio: $(ls /sys/class/uio)"
rest 3
(($(descriptors) <= before + 2)) || fail "the handler has $(descriptors) descriptors, and had $before"
handler_stop || fail "the handler ends with $?"
echo PASS
