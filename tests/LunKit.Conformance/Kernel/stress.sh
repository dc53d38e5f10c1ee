#!/bin/bash
# Runs in the virtual machine of eng/vm: random actions of an operator on devices of the real kernel's TCMU, and a model of what must be true.
#   stress.sh ROOT LUNKIT STEPS SEED [ACTION...]     the last line says "PASS" or "FAIL: why"; with ACTIONs (or states) only those are done, each one STEPS times
# Every command has a limit; every block that was written is compared with what it must be, and fio verifies a disk of its own beside it all; nothing
# is left at the end: no byte lost, nothing in configfs and uio, no descriptor and no thread of the handler.
target=/sys/kernel/config/target root=$1 steps=$3
RANDOM=$4
only=("${@:5}")
here=${BASH_SOURCE[0]%/*}
# What is rebuilt while this runs is another program.
lunkit=/tmp/lunkit
cp "$2" $lunkit
for part in guest-tools stress-tools stress-actions stress-states; do . "$here/$part.sh"; done

# How often each is done.
actions=()
often() { local i; for ((i = 0; i < $1; i++)); do actions+=("${@:2}"); done; }
often 40 write
often 25 link
often 20 create check
often 8 crash pause second states
often 5 grow shrink rewrite unlink destroy refused restart doctor attach stop_short swap
often 3 away stop_long full
often 1 many targetcli

# A hang of this script itself, in a builtin that nothing can end.
watchdog() {
  local seen="" since step clock
  while rest 10; do
    read -r step </tmp/step
    tick
    [[ $step == "$seen" ]] || { seen=$step since=$clock; }
    ((clock - since > 600)) || continue
    echo "FAIL: step $step hangs"
    stacks
    rest 3
    echo 1 >/dev/ttyS1
    echo b >/proc/sysrq-trigger
  done
}

main() {
  local started clock i
  tick
  started=$clock
  dmesg -n 3
  mkdir -p $images $models "$(<$target/dbroot)/pr" /var/target/pr
  # targetcli asks on the bus what handlers there are.
  mkdir -p /run/dbus && cp "$root/packaging/dbus/org.lunkit.Handler.conf" /etc/dbus-1/system.d/ && dbus-daemon --system --fork --nopidfile || fail "no bus"
  echo "0 start" >/tmp/step
  watchdog &
  echo "Linux $(uname -r), seed $seed, $steps steps"
  first_states
  handler_start || fail "the handler does not start"
  before=$(descriptors) threads=$(named_threads)
  load_start
  if [[ ${#only[@]} -gt 0 ]]; then
    for ((i = 0; i < 3; i++)); do act create; act link; act write; done
    actions=("${only[@]}")
    steps=$((steps * ${#only[@]}))
  fi
  for ((step = 1; step <= steps; step++)); do
    if [[ ${#only[@]} -gt 0 ]]; then picked=${only[(step - 1) % ${#only[@]}]}; else pick "${actions[@]}"; fi
    act "$picked"
    ((step % 50)) || { tick; echo "step $step: ${#size[@]} devices, ${#lun[@]} disks, $((clock - started)) s"; }
  done
  at_the_end
  tick
  echo "done: $(for i in "${!counts[@]}"; do echo -n "$i ${counts[$i]}, "; done)fio wrote $(</tmp/load.rounds) times, $((clock - started)) s"
  echo PASS
}
act() {
  local begun clock
  tick
  begun=$clock last=$1
  echo "$step $last" >/tmp/step
  counts[$last]=$((${counts[$last]:-0} + 1))
  if [[ $(type -t act_$last) == function ]]; then act_$last; else state_$last; fi
  load_check
  tick
  ((clock - begun < 60)) || echo "step $step: $last took $((clock - begun)) s"
}

descriptors() { local all=(/proc/$handler/fd/*); echo ${#all[@]}; }
# Threads that are somebody's: the runtime's own come and go.
named_threads() { local t name n=0; for t in /proc/$handler/task/*; do read -r name <$t/comm && [[ $name != .NET* && $name != lunkit ]] && ((n++)); done 2>/dev/null; echo $n; }
few_left() { (($(descriptors) <= before + 2 && $(named_threads) <= threads)); }
at_the_end() {
  last=end
  echo "$step $last" >/tmp/step
  load_stop
  while ((${#lun[@]})); do for picked in "${!lun[@]}"; do check_all "$picked"; break; done; act_unlink; done
  while ((${#size[@]})); do act_destroy; done
  [[ ! -d $loop ]] || { limit 60 rmdir $loop "${loop%/*}" || fail "the loopback target stays: $(</tmp/limited)"; }
  [[ -z $(ls -d $target/core/user_*/*/ 2>/dev/null) ]] || fail "left in configfs: $(ls -d $target/core/user_*/*/)"
  [[ -z $(ls /sys/class/uio 2>/dev/null) ]] || fail "left in uio: $(ls /sys/class/uio)"
  [[ -z $(ls $images) ]] || fail "left of the images: $(ls $images)"
  await 40 few_left || fail "the handler has $(descriptors) descriptors and $(named_threads) threads, and had $before and $threads: $(cat /proc/$handler/task/*/comm | sort | uniq -c)"
  handler_stop || fail "the handler ends with $?"
  dmesg >/tmp/dmesg
  ! grep -E 'BUG:|WARNING:|Oops|general protection|refcount_t|use-after-free|INFO: task .* blocked' /tmp/dmesg || fail "the kernel complains: $(grep -E -A25 'BUG:|WARNING:|Oops|INFO: task' /tmp/dmesg | head -60)"
}
seed=$4
main
exit 0
