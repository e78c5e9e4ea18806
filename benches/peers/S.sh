# weft: one process, a TAP with a virtio-net header per endpoint, superframes passed whole.
# Run with PB's run.sh and a path to this file.  WEFT names the binary (default: weft on the PATH).
up() { local n w=${WEFT:-weft}; export WEFT_SOCKET=$PB_TMP/weft.sock
	rm -f "$WEFT_SOCKET"; printf '[appliance]\n%s\n[networks.s]\nsubnets = ["10.77.0.0/24"]\n' "${WEFT_APPLIANCE:-}" >"$PB_TMP/weft.toml"
	sw ip netns exec pbH "$w" up "$PB_TMP/weft.toml"; waitfor "$w" status
	for n in "${ENDS[@]}"; do spawn "$w" attach --netns "$n" --network "s,ip=$(address "$n"),ifname=e0" --name "$n"
		waitfor hasif "$n" e0; done
	# weft has set the addresses; run.sh sets the same ones itself and takes it amiss if they are there.
	for n in "${ENDS[@]}"; do waitfor attached "$n"; nx "$n" ip addr flush dev e0; done; }
# The addresses that run.sh gives: 10 and the number for pbA…, 20 and the number for pbB….
address() { local i=${1#pb?}; case $1 in pbA*) echo "10.77.0.$((10 + i))";; *) echo "10.77.0.$((20 + i))";; esac; }
attached() { "${WEFT:-weft}" ps | grep -q "^$1 "; }
