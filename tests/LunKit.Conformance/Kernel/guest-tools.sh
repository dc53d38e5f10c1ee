# To be sourced, in the virtual machine of eng/vm, with $target and $lunkit: what the scripts there have in common.
loop=$target/loopback/naa.5001405000000001/tpgt_1
log=/tmp/handle.log
# Nothing ever comes out of it: reading from it with a limit is a wait without a process.
exec {quiet}<> <(:)

now() { local seconds; read -r seconds _ </proc/uptime; echo "${seconds%.*}"; }
# Seconds of the kernel's own clock, as $clock, without a process.
tick() { read -r clock _ </proc/uptime; clock=${clock%.*}; }
rest() { read -rt "$1" -u $quiet || true; }
# await SECONDS COMMAND...: until it is so. By the clock, and by looks: when the whole machine stood still meanwhile, nothing has had its time.
await() {
  local clock end looks=$(($1 * 4))
  tick
  end=$((clock + $1))
  shift
  until "$@" >/dev/null 2>&1; do tick; ((clock < end || looks-- > 0)) || return 1; rest 0.1; done
}
logged() { [[ $(<$log) == *"$1"* ]]; }
handler_start() {
  : >$log
  "$lunkit" handle "$@" >>$log 2>&1 &
  handler=$!
  await 60 logged 'LunKit handles'
}
handler_stop() { kill -TERM $handler && wait $handler; }
# create NAME CONFIG SIZE: the backstore, enabled.
create() { mkdir -p $target/core/user_0/$1 && echo -n "dev_config=$2,dev_size=$3" >$target/core/user_0/$1/control && echo 1 >$target/core/user_0/$1/enable; }
destroy() { rmdir $target/core/user_0/$1; }
