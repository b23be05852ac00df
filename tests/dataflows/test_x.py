import pytest
from tests.dataflows.test_start import *
@pytest.mark.parametrize("i", range(12))
def test_x(i, scene, feed):
    addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(2))
    first, second = (scene.start("-i", str(rank), "-a", addresses) for rank in range(2))
    feed.write(10)
    try:
        scene.read(10)
    except AssertionError:
        got = read_all(scene.broker, scene.outputs, 0, extra_seconds=1)
        print("GOT", sorted(map(place, got)), first.poll(), second.poll())
        print("MISSING", [(r.origin, r.value) for r in feed.written if r.origin not in set(map(place, got))])
        print("LOG", scene.log())
        subprocess.run(["ps", "-eo", "pid,stat,etime,time,args"], check=False)
        raise
