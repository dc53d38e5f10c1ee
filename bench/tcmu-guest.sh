#!/bin/bash
# Runs in the virtual machine of bench/tcmu: prints "run HANDLER OPERATION SIZE DEPTH IOPS" for every measurement.
target=/sys/kernel/config/target lunkit=$1 floor=$2 rounds=$3 ios=$4 size=$((64 << 20))
loop=$target/loopback/naa.5001405000000001/tpgt_1
await() { local n; for ((n = 0; n < 600; n++)); do "$@" >/dev/null 2>&1 && return; read -rt 0.1 <> <(:); done; echo "# $* did not come"; exit 1; }
find_disk() { local d; for d in /sys/bus/scsi/devices/*:0:1:$1/block/*; do [[ -e $d ]] && disk=/dev/${d##*/} && return; done; return 1; }
plug() { mkdir -p $loop/lun/lun_$2 && ln -s $target/core/$1 $loop/lun/lun_$2/port; await find_disk $2; }
for name in lunkit runner floor; do dd if=/dev/zero of=/dev/shm/$name.img bs=1M count=64 status=none; done
mkdir -p $loop && echo -n naa.5001405000000002 >$loop/nexus
declare -A disks

"$lunkit" handle --no-replies >/tmp/lunkit.log 2>&1 &
await grep -q handles /tmp/lunkit.log
mkdir -p $target/core/user_0/lunkit && echo -n "dev_config=file//dev/shm/lunkit.img,dev_size=$size,hw_max_sectors=1024" >$target/core/user_0/lunkit/control && echo 1 >$target/core/user_0/lunkit/enable
await grep -q 'is served' /tmp/lunkit.log
plug user_0/lunkit 0 && disks[lunkit]=$disk

mkdir -p /run/dbus /etc/tcmu && : >>/etc/tcmu/tcmu.conf && dbus-daemon --system --fork --nopidfile
tcmu-runner >/tmp/runner.log 2>&1 &
await grep -q 'Handler qcow is registered' /var/log/tcmu-runner.log
mkdir -p $target/core/user_0/runner && echo -n "dev_config=qcow//dev/shm/runner.img,dev_size=$size,hw_max_sectors=1024" >$target/core/user_0/runner/control && echo 1 >$target/core/user_0/runner/enable
plug user_0/runner 1 && disks[runner]=$disk

mkdir -p $target/core/user_0/floor && echo -n "dev_config=floor/x,dev_size=$size,hw_max_sectors=1024,nl_reply_supported=-1" >$target/core/user_0/floor/control && echo 1 >$target/core/user_0/floor/enable
uio=$(grep -l /floor/ /sys/class/uio/*/name) uio=${uio%/name}
"$floor" "/dev/${uio##*/}" /dev/shm/floor.img >/tmp/floor.log 2>&1 &
await grep -q ready /tmp/floor.log
plug user_0/floor 3 && disks[floor]=$disk

# What the kernel costs by itself: its own disk in memory.
mkdir -p $target/core/rd_mcp_0/kernel && echo -n rd_pages=16384 >$target/core/rd_mcp_0/kernel/control && echo 1 >$target/core/rd_mcp_0/kernel/enable
plug rd_mcp_0/kernel 2 && disks[kernel]=$disk

for name in "${!disks[@]}"; do
  echo "# $name is ${disks[$name]}"
  echo none >"/sys/block/${disks[$name]##*/}/queue/scheduler"
  dd if=/dev/zero of="${disks[$name]}" bs=1M oflag=direct status=none
done
measure() { # NAME OPERATION BLOCK DEPTH IOS
  local fields out
  out=$(fio --name=b --filename="${disks[$1]}" --direct=1 --rw="$2" --bs="$3" --iodepth="$4" --ioengine=libaio --number_ios="$5" --size=64M \
    --eta=never --randrepeat=0 --norandommap --minimal --terse-version=3)
  IFS=';' read -ra fields <<<"$out"
  if [[ $2 == *read ]]; then echo "run $1 $2 $3 $4 ${fields[7]}"; else echo "run $1 $2 $3 $4 ${fields[48]}"; fi
}
for name in kernel floor lunkit runner; do measure $name randread 4k 8 500 >/dev/null; done
for ((round = 0; round < rounds; round++)); do
  for operation in randread randwrite; do
    for depth in 1 32; do
      for name in kernel floor lunkit runner; do measure $name $operation 4k $depth "$ios"; done
    done
  done
  for operation in read write; do
    for name in kernel floor lunkit runner; do measure $name $operation 256k 4 $((ios / 5)); done
  done
done
