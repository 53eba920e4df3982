"""Stores in an object store: a local server that speaks S3, real requests."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from actpipe.errors import Damaged, Failure, Missing, Misuse
from actpipe.store import Store, lease, remote, verify
from actpipe.store.local import LocalObjects
from actpipe.store.objects import objects_at
from actpipe.store.read_ahead import Ahead, ReadAhead
from actpipe.store.remote import LEASE_KEY, RemoteObjects
from tests.object_server import BUCKET, ObjectServer
from tests.small_store import HOOK, HOOKS, data_files, empty_store, filled_store, slab_of, texts, values
from tests.test_docs import snippets

pytest.importorskip("obstore", reason="the extra 'remote' is not installed")
pytest.importorskip("moto", reason="moto is not installed")

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "how-to" / "object-stores.md"


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    server = ObjectServer()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
    server.stop()


@pytest.fixture
def url(server: ObjectServer, request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{abs(hash(request.node.nodeid)):x}/store.zarr"


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up at once instead of after half a minute."""
    monkeypatch.setattr(remote, "RETRIES", {"max_retries": 0})


def script(text: str, *arguments: str, killed: bool = False) -> str:
    """Run Python in another process with this environment; returns what it printed."""
    done = subprocess.run([sys.executable, "-c", text, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == (-signal.SIGKILL if killed else 0), done.stderr
    return done.stdout


def key_of(url: str, key: str) -> dict[str, str]:
    return {"Bucket": BUCKET, "Key": f"{url.removeprefix(f's3://{BUCKET}/')}/{key}"}


def data_objects(url: str) -> dict[str, bytes]:
    objects = objects_at(url)
    return {key: objects.get(key) for key in sorted(objects.sizes()) if not key.startswith("commit/c/")}


# The store


def test_a_store_in_a_bucket_has_the_objects_that_a_folder_has_files(url: str, tmp_path: Path) -> None:
    local, there = filled_store(tmp_path / "store.zarr"), filled_store(url)
    assert data_objects(url) == data_files(local.path)
    assert (there.is_complete, there.bytes, there.fingerprint) == (True, local.bytes, local.fingerprint)
    assert verify(url) == {"complete": True, "shards": 12, "damaged": []}


def test_it_reads_as_the_local_one_bit_for_bit(url: str, tmp_path: Path) -> None:
    local, there = filled_store(tmp_path / "store.zarr"), filled_store(url)
    for name in ("tokens", "doc", "mask"):
        assert np.array_equal(getattr(there, name), getattr(local, name))
    for hook in HOOKS:
        assert torch.equal(there.read(hook, 3, 150), local.read(hook, 3, 150))
        assert np.array_equal(there.statistics(hook).variance, local.statistics(hook).variance)
        pairs = zip(
            *(s.batches(hook, batch_size=10, seed=1, pool_rows=40, epochs=2) for s in (there, local)), strict=True
        )
        for ours, theirs in pairs:
            assert torch.equal(ours.x, theirs.x)
            assert torch.equal(ours.rows, theirs.rows)


def test_an_opened_store_can_be_sent_to_another_process(url: str) -> None:
    store = filled_store(url)
    text = "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1])).read(sys.argv[2], 5, 6).tolist())"
    assert script(text, pickle.dumps(store).hex(), HOOK).strip() == str(values(HOOK)[5:6].tolist())


def test_zarr_and_tensorstore_open_it(url: str, server: ObjectServer) -> None:
    import tensorstore
    import zarr

    store = filled_store(url, dtype="float32", max_slab_bytes=2**12)
    with warnings.catch_warnings(), store.objects.claim():  # the lease is nothing they would stumble over
        warnings.simplefilter("error")
        group = zarr.open_group(store.objects.zarr(), mode="r")
        members = sorted(name for name, _ in group.members())
        acts = np.asarray(group[f"acts/{HOOK}"])
    assert {"acts", "commit", "doc", "mask", "statistics", "tokens"} <= set(members)
    assert np.array_equal(acts, values(HOOK).numpy())
    place = {"driver": "s3", "bucket": BUCKET, "endpoint": server.url, "aws_region": "us-east-1"}
    place["path"] = key_of(url, f"acts/{HOOK}/")["Key"]
    opened = tensorstore.open({"driver": "zarr3", "kvstore": place}).result()
    assert np.array_equal(opened.read().result(), values(HOOK).numpy())


@pytest.mark.parametrize("n_bytes", [1000, remote.PART_BYTES, 3 * remote.PART_BYTES + 5])
def test_objects_of_any_size_come_back_whole(url: str, n_bytes: int) -> None:
    content = np.random.default_rng(0).integers(0, 256, n_bytes, np.uint8)
    objects = objects_at(url)
    objects.put("x/y", (content[i : i + 300_001] for i in range(0, n_bytes, 300_001)))
    assert objects.get("x/y") == content.tobytes()
    assert objects.sizes() == {"x/y": n_bytes}
    assert (objects.names("x"), objects.names(""), objects.names("z")) == (["y"], ["x"], [])
    objects.delete("x/y")
    objects.delete("x/y")
    assert objects.size("x/y") is None
    with pytest.raises(FileNotFoundError):
        objects.reader("x/y")


def test_an_upload_that_breaks_off_leaves_no_object(url: str, server: ObjectServer) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(3):
            yield bytes(remote.PART_BYTES)
        raise Misuse("not finite")

    with pytest.raises(Misuse, match="not finite"):
        objects_at(url).put("x", parts())
    assert objects_at(url).size("x") is None


KILLED_BEFORE_COMMIT = """
import os, signal, sys
from actpipe.store import Store, slab_files
from tests.small_store import slab_of
slab_files.write_commit = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
store = Store.open(sys.argv[1])
store.write_slab(2, slab_of(store, 2))
"""


def test_a_slab_that_was_cut_off_before_its_commit_is_written_again(url: str, tmp_path: Path) -> None:
    store = empty_store(url)
    script(KILLED_BEFORE_COMMIT, url, killed=True)
    assert store.objects.size(f"acts/{HOOK}/c/2/0") is not None
    assert store.committed == []
    for slab in store.recover():
        store.write_slab(slab, slab_of(store, slab))
    assert data_objects(url) == data_files(filled_store(tmp_path / "store.zarr").path)


def test_verify_names_a_flipped_byte_and_the_slab_is_written_again(url: str, server: ObjectServer) -> None:
    store, s3 = filled_store(url), server.client("s3")
    before = data_objects(url)
    shard = key_of(url, f"acts/{HOOK}/c/2/0")
    content = bytearray(s3.get_object(**shard)["Body"].read())
    content[16 * 6 * 2 + 4 + 17] ^= 4
    s3.put_object(**shard, Body=bytes(content))
    found = {"slab": 2, "hook": HOOK, "chunk": 1, "problem": "the checksum does not match the content"}
    assert verify(store) == {"complete": False, "shards": 12, "damaged": [found]}
    with pytest.raises(Damaged, match="chunk 1"):
        store.read(HOOK, 64, 96)
    store.withdraw(2)
    assert Store.open(url).recover() == [2]
    store.write_slab(2, slab_of(store, 2))
    assert verify(store)["complete"]
    assert data_objects(url) == before


def test_lost_and_truncated_shards_are_found(url: str, server: ObjectServer) -> None:
    store = filled_store(url)
    store.read(HOOK, 0, store.rows)
    server.client("s3").put_object(**key_of(url, f"acts/{HOOK}/c/1/0"), Body=b"short")
    store.objects.delete(f"acts/{HOOK}/c/3/0")
    for slab in (1, 3):  # with readers that were opened before
        with pytest.raises(Damaged, match=f"Slab {slab} of hook"):
            store.read(HOOK, 32 * slab, 32 * slab + 8)
    problems = {each["slab"]: each["problem"] for each in verify(store)["damaged"]}
    assert problems == {1: "its shard file has 5 bytes instead of 428", 3: "its shard file is missing"}
    assert Store.open(url).recover() == [1, 3]


# Creation


KILLED_BEFORE_ROOT = """
import os, signal, sys
from actpipe.store.remote import RemoteObjects
from tests.small_store import empty_store
RemoteObjects._publish = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
empty_store(sys.argv[1])
"""


def test_what_a_killed_creation_left_is_no_store_and_is_overwritten(url: str) -> None:
    script(KILLED_BEFORE_ROOT, url, killed=True)
    assert "tokens/zarr.json" in objects_at(url).sizes()
    with pytest.raises(Missing, match="no store at"):
        Store.open(url)
    assert empty_store(url).pending == [0, 1, 2, 3, 4, 5]
    assert LEASE_KEY not in objects_at(url).sizes()


def test_a_place_that_holds_something_else_is_left_alone(url: str) -> None:
    objects_at(url).put("thesis.tex", [b"years of work"])
    with pytest.raises(Misuse, match=r"not a store and not empty \(there is thesis\.tex, and 0 more\)"):
        empty_store(url)
    assert objects_at(url).sizes() == {"thesis.tex": 13}


def test_a_store_that_another_began_meanwhile_is_not_touched(url: str) -> None:
    with pytest.raises(Misuse, match="exists already"):
        empty_store(empty_store(url).place)
    before = data_objects(url)
    with pytest.raises(Failure, match="began"), objects_at(url).building():
        pass
    assert data_objects(url) == before


def test_a_store_is_removed_with_all_its_objects(url: str) -> None:
    filled_store(url).objects.remove()
    assert objects_at(url).sizes() == {}


# Two writers

HOLDS = """
import os, signal, sys
from actpipe.store.objects import objects_at
with objects_at(sys.argv[1]).claim():
    print("held", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("RENEW_S", 0.1), ("DEAD_S", 1.0), ("LOOK_S", 0.05)):
        monkeypatch.setattr(lease, name, seconds)


def test_a_second_writer_is_told_and_stops(url: str, quick: None) -> None:
    store = empty_store(url)
    with store.objects.claim():
        told = rf"Another harvest is writing {url} \(process {os.getpid()} on .*\)\. Wait for its end"
        with pytest.raises(Failure, match=told), objects_at(url).claim():
            pass
        with pytest.raises(Failure, match="Another harvest is writing"):
            objects_at(url).remove()
        store.write_slab(0, slab_of(store, 0))
    with objects_at(url).claim():
        pass
    assert LEASE_KEY not in store.objects.sizes()


def test_the_claim_of_a_killed_process_of_this_machine_is_free_at_once(url: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, url], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.communicate()
    began = time.monotonic()
    with objects_at(url).claim():
        assert time.monotonic() - began < lease.DEAD_S / 3


def test_a_claim_of_another_machine_that_is_not_renewed_ends(url: str, quick: None) -> None:
    objects = objects_at(url)
    objects.put(LEASE_KEY, [json.dumps({"machine": "elsewhere", "process": 1, "processes": "elsewhere"}).encode()])
    began = time.monotonic()
    with objects.claim():
        assert 1 <= time.monotonic() - began < 5


def test_of_many_who_find_a_dead_claim_one_gets_it(url: str, quick: None) -> None:
    objects_at(url).put(LEASE_KEY, [b"{}"])
    held, told = [], []

    def claim() -> None:
        try:
            with objects_at(url).claim():
                held.append(1)
                time.sleep(2)
        except Failure as error:
            told.append(error)

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(told)) == (1, 5)


def test_a_writer_whose_claim_was_taken_over_stops(url: str, quick: None) -> None:
    store = empty_store(url)
    with store.objects.claim():
        time.sleep(0.5)  # several renewals
        store.write_slab(0, slab_of(store, 0))
        objects_at(url).put(LEASE_KEY, [b'{"identity": "another"}'])
        time.sleep(0.5)
        with pytest.raises(Failure, match=r"Another harvest took .* over"):
            store.write_slab(1, slab_of(store, 1))
    assert objects_at(url).get(LEASE_KEY) == b'{"identity": "another"}'  # not ours to remove
    assert store.committed == [0]


def test_without_conditional_writes_a_store_is_written_unguarded(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    store = filled_store(url)
    with store.objects.claim():
        assert verify(store)["complete"]


# What the service refuses


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("ftp://host/store.zarr", r"scheme that cannot hold a store; use a folder or one of s3://, gs://, az://"),
        ("memory:///store.zarr", "scheme that cannot hold a store"),
        ("s3://bucket", r"names no place in a bucket; write it as s3://bucket/folder/store\.zarr"),
        ("s3://bucket/a?x=1", "names no place in a bucket"),
        ("az://container/store.zarr", "set AZURE_STORAGE_ACCOUNT_NAME"),
        ("file://elsewhere/store.zarr", "names no folder of this machine"),
    ],
)
def test_places_that_cannot_be_are_refused(place: str, sentence: str) -> None:
    with pytest.raises(Misuse, match=sentence):
        objects_at(place)


@pytest.mark.parametrize("act", [Store.open, empty_store], ids=["read", "write"])
def test_a_missing_bucket_is_named(server: ObjectServer, act) -> None:
    with pytest.raises(Missing, match=r"There is no bucket 'nowhere' for s3://nowhere/store\.zarr; create it"):
        act("s3://nowhere/store.zarr")


@pytest.mark.parametrize("act", [Store.open, empty_store, RemoteObjects.sizes], ids=["read", "write", "list"])
def test_wrong_credentials_are_refused_in_a_sentence(server: ObjectServer, url: str, act) -> None:
    argument = objects_at(url) if act is RemoteObjects.sizes else url
    with server.checking_users(), pytest.raises(Failure, match=f"Access to {url} was refused .*credentials are wrong"):
        act(argument)


def test_what_the_credentials_do_not_permit_is_said(
    server: ObjectServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = empty_store(url)
    for name, value in server.user("s3:GetObject", "s3:ListBucket").items():
        monkeypatch.setenv(name, value)
    with server.checking_users():
        reading = Store.open(url)
        assert np.array_equal(reading.tokens, texts()["tokens"])
        with pytest.raises(Failure, match=r"refused \(AccessDenied: .*or do not permit to list, read, write"):
            reading.write_slab(0, slab_of(store, 0))
    assert store.committed == []


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("environment", "kind", "sentence"),
    [
        ({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}, Failure, "cannot be reached .*Check the endpoint"),
        ({"AWS_ALLOW_HTTP": None}, Misuse, "plain http; set AWS_ALLOW_HTTP=true"),
        ({"AWS_ENDPOINT_URL": "localhost:9000"}, Misuse, "AWS_ENDPOINT_URL is 'localhost:9000', which is no URL"),
        ({"AWS_SECRET_ACCESS_KEY": None}, Missing, "no credentials .*AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        (
            {"AWS_SECRET_ACCESS_KEY": None, "AWS_ACCESS_KEY_ID": None, "AWS_METADATA_ENDPOINT": "http://169.254.0.1"},
            Missing,
            "no credentials .*AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        ({"AWS_TIMEOUT": "soon"}, Misuse, 'setting of the environment .*failed to parse "soon"'),
    ],
    ids=["unreachable", "http", "no URL", "half the credentials", "no credentials", "bad setting"],
)
def test_a_wrong_environment_is_told_in_a_sentence(
    server: ObjectServer, url: str, hasty: None, monkeypatch: pytest.MonkeyPatch, environment, kind, sentence
) -> None:
    for name, value in environment.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(kind, match=sentence) as raised:
        Store.open(url)
    assert "\n" not in str(raised.value)


def test_a_service_that_never_answers_is_given_up(url: str, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("AWS_TIMEOUT", "300ms")
        with pytest.raises(Failure, match=r"did not answer in time .*AWS_TIMEOUT=120s"):
            Store.open(url)


def test_a_missing_package_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(Missing, match=r"pip install obstore"):
        objects_at(url)


FORKS = """
import os, sys
from actpipe.store import Store
store = Store.open(sys.argv[1])
if os.fork() == 0:
    try:
        store.read(sys.argv[2], 0, 1)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    os._exit(0)
os.wait()
"""


def test_a_forked_process_is_told_instead_of_hanging(url: str) -> None:
    filled_store(url)
    assert re.match("Misuse .*forked .*spawn", script(FORKS, url, HOOK))


# Reading ahead


def test_what_is_read_ahead_is_what_is_read() -> None:
    content = np.random.default_rng(0).integers(0, 256, 2**20, np.uint8)
    requests: list[tuple[int, int]] = []

    def fetch(start: int, length: int) -> bytes:
        requests.append((start, length))
        return content[start : start + length].tobytes()

    ahead = Ahead()
    reader, draw = ReadAhead(fetch, len(content), ahead), np.random.default_rng(1)
    for _ in range(300):
        start, length = (int(each) for each in draw.integers(0, [2**20, 5000]))
        if draw.random() < 0.5:
            reader.announce(start, length)
        parts = [np.empty(length // 2, np.uint8), np.empty(length - length // 2, np.uint8)]
        whole = reader.read(start, parts)
        assert whole == (start + length <= 2**20)
        if whole:
            assert np.array_equal(np.concatenate(parts), content[start : start + length])
    requests.clear()
    out = np.empty(4096, np.uint8)
    for start in range(0, 2**20, 4096):
        assert reader.read(start, [out])
        assert np.array_equal(out, content[start : start + 4096])
    assert len(requests) < 40  # of 256 reads: each asks for more, the further it went on
    del reader
    assert ahead._bytes == 0


def test_threads_share_a_reader() -> None:
    content = np.random.default_rng(0).integers(0, 256, 2**20, np.uint8)
    reader = ReadAhead(lambda start, length: content[start : start + length].tobytes(), 2**20, Ahead())
    wrong = []

    def read(first: int) -> None:
        out = np.empty(1000, np.uint8)
        for start in range(first, first + 2**18 - 1000, 1000):
            reader.announce(start + 3000, 1000)
            if not (reader.read(start, [out]) and np.array_equal(out, content[start : start + 1000])):
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(quarter * 2**18,)) for quarter in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Folders


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "with space" / "store.zarr"
    store = filled_store(f"file://{str(folder).replace(' ', '%20')}")
    assert (store.path, verify(folder)["complete"]) == (folder, True)


def test_a_folder_that_was_removed_stops_its_writer_and_is_not_half_made_again(tmp_path: Path) -> None:
    objects = empty_store(tmp_path / "store.zarr").objects
    objects.put("acts/new/c/0/0", [b"rows"])
    objects.remove()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Failure, match="was removed or moved away"):
        objects.put("acts/new/c/1/0", [b"rows"])
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_of_a_folder_is_told_and_cannot_remove_it(tmp_path: Path) -> None:
    first = empty_store(tmp_path / "store.zarr").objects
    second = LocalObjects(first.place)
    with first.claim():
        with pytest.raises(Failure, match="Another harvest is writing"), second.claim():
            pass
        with pytest.raises(Failure, match="Another harvest is writing"):
            second.remove()
    with second.claim():
        pass


# The commands


@pytest.mark.slow
def test_the_commands_work_on_a_url(url: str, tmp_path: Path, saved_models: dict[str, Path], text_file: Path) -> None:
    from tests.command_line import fresh

    small = ("--model", str(saved_models["llama"]), "--dataset", str(text_file), "--tokens", "6k", "--context", "24")
    small += ("--batch-size", "8")  # else measured, and recorded

    def works(*command: str) -> None:
        done = fresh(tmp_path, *command, timeout=300)
        assert done.returncode == 0, f"{command}: {done.stderr}"

    works("harvest", *small, "--out", url)
    works("harvest", *small, "--out", url)  # complete already
    works("verify", url)
    works("info", url)
    works("train-sae", url, "--l1-sweep", "1", "--tokens", "2k", "--out", "sae")
    works("analyze", "sae")
    works("harvest", *small, "--out", "local.zarr")
    assert data_objects(url) == data_files(tmp_path / "local.zarr")
    objects_at(url).remove()
    works("harvest", *small, "--out", url, "--workers", "2", "--overwrite")
    assert data_objects(url) == data_files(tmp_path / "local.zarr")
    works("harvest", *small, "--out", f"file://{tmp_path}/local.zarr")


def test_the_guide_runs(url: str) -> None:
    store = filled_store(url)
    text = "\n".join(snippets(GUIDE, "py"))
    assert text
    script(re.sub(r"s3://[\w./-]+", url, text).replace("blocks.9.hook_resid_post", next(iter(store.hooks))))
