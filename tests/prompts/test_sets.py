"""The data sets of the paper, from a server in their real layouts and from a local folder, without their weight."""

import dataclasses
from pathlib import Path

import pytest
import sets
from servers import COMMIT, World, served, sha256

from afa_bench.errors import UserError
from afa_bench.fetch import HubFile, Library, UrlFile
from afa_bench.fetch.engine import Fetcher
from afa_bench.fetch.transfer import Patience
from afa_bench.images import stored as images
from afa_bench.prompts import coco2017, diffusiondb, drawbench, journeydb, laion_coco, parti_prompts
from afa_bench.prompts.hub import HubPrompts

HERE = Path()
FOLDERS = tuple(journeydb.JourneyDB(folders=2)._archives())
CASES = {
    "drawbench": (drawbench.DrawBench(), sets.drawbench(), 200),
    "coco2017": (coco2017.Coco2017(), sets.coco2017(), 2),
    "diffusiondb": (diffusiondb.DiffusionDB(count=6, parts=2), sets.diffusiondb(), 6),
    "journeydb": (journeydb.JourneyDB(count=5, folders=2), sets.journeydb(FOLDERS), 5),
    "laion-coco": (laion_coco.LaionCoco(count=7, parts=2), sets.laion_coco(), 7),
    "parti-prompts": (parti_prompts.PartiPrompts(), {"/parti/PartiPrompts.tsv": sets.parti()}, 2),
    "hub": (HubPrompts(repo="laion/relaion-coco", files="part-0000[01]*", column="TEXT"), sets.laion_coco(), 10),
}


@pytest.fixture
def world(tmp_path, monkeypatch):
    with served(World()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "data"))
        monkeypatch.delenv("HF_TOKEN", raising=False)

        def here(source, path):
            return UrlFile(address=f"{running.address}{path}", sha256=source.sha256 and sha256(sets.parti()))

        monkeypatch.setattr(coco2017, "ANNOTATIONS", here(coco2017.ANNOTATIONS, "/annotations/annotations_trainval2017.zip"))
        monkeypatch.setattr(
            coco2017, "IMAGES", {split: here(source, f"/zips/{split}2017.zip") for split, source in coco2017.IMAGES.items()}
        )
        monkeypatch.setattr(parti_prompts, "TABLE", here(parti_prompts.TABLE, "/parti/PartiPrompts.tsv"))
        for module in (drawbench, diffusiondb):
            monkeypatch.setattr(module, "REVISION", COMMIT, raising=False)
        for module, name in ((drawbench, "SHEET"), (diffusiondb, "METADATA")):
            monkeypatch.setattr(module, name, dataclasses.replace(getattr(module, name), revision=COMMIT))
        yield running


def fetch(prompt_set, folder=None):
    fetcher = Fetcher(Library(), Patience(tries=1))
    jobs = fetcher.survey(prompt_set.sources(), folder)
    return fetcher.adopt(jobs, folder) if folder else fetcher.run(jobs, Quiet())


class Quiet:
    def advance(self, source, count):
        pass

    def done(self, source):
        pass


@pytest.mark.parametrize("name", CASES)
def test_a_set_loads_from_a_server_and_from_a_folder_to_the_same_prompts(world, tmp_path, monkeypatch, name):
    prompt_set, files, count = CASES[name]
    world.files = files
    assert fetch(prompt_set) == []
    asked = len(world.seen)
    prompts = prompt_set.prompts(HERE)
    assert len(prompts) == count
    assert len({prompt.id for prompt in prompts}) == count
    assert all(prompt.text == prompt.text.strip() != "" for prompt in prompts)
    reference = [images.read(picture) for picture in prompt_set.reference(HERE)]
    shown = [prompt.image and images.read(prompt.image) for prompt in prompts]
    assert len(world.seen) == asked  # reading makes no connection

    monkeypatch.setenv("AFA_BENCH_DATA", str(tmp_path / "elsewhere"))
    assert fetch(prompt_set, tmp_path / "data") == []
    assert len(world.seen) == asked
    again = prompt_set.prompts(HERE)
    assert [(p.id, p.text, p.category) for p in again] == [(p.id, p.text, p.category) for p in prompts]
    assert [prompt.image and images.read(prompt.image) for prompt in again] == shown
    assert [images.identity(p.image) for p in again if p.image] == [images.identity(p.image) for p in prompts if p.image]
    assert [images.read(picture) for picture in prompt_set.reference(HERE)] == reference


def test_drawbench_has_its_categories_and_refuses_another_number_of_prompts(world):
    world.files = sets.drawbench()
    prompt_set = drawbench.DrawBench()
    fetch(prompt_set)
    prompts = prompt_set.prompts(HERE)
    assert {prompt.category for prompt in prompts} == set(sets.CATEGORIES)
    assert prompts[0].text == '1 red kites, one of them "torn"'
    Library().locate(drawbench.SHEET).write_bytes(sets.drawbench_csv(199))
    with pytest.raises(UserError, match="not the file that is pinned"):
        prompt_set.prompts(HERE)
    Library().lock_file.unlink()
    with pytest.raises(UserError, match="expected 200 prompts of 11 categories, found 199 of 11"):
        prompt_set.prompts(HERE)


def test_coco_gives_each_image_its_first_caption_and_the_train_split_as_reference(world):
    world.files = sets.coco2017()
    prompt_set = coco2017.Coco2017()
    fetch(prompt_set)
    prompts = prompt_set.prompts(HERE)
    assert [(prompt.id, prompt.text) for prompt in prompts] == [
        ("3", "Picture 3 told in way 1."),
        ("9", "Picture 9 told in way 1."),
    ]
    assert images.read(prompts[1].image) == sets.picture(9, "JPEG")
    assert [images.read(picture) for picture in prompt_set.reference(HERE)] == [sets.picture(i, "JPEG") for i in (1, 2, 4)]
    every = coco2017.Coco2017(captions="all").prompts(HERE)
    assert [(prompt.id, prompt.cluster) for prompt in every] == [("3-31", "3"), ("3-32", "3"), ("9-91", "9"), ("9-92", "9")]
    assert {prompt.cluster for prompt in prompts} == {None}


def test_a_selection_is_random_seeded_and_paired_with_its_images(world):
    world.files = sets.diffusiondb()
    prompt_set, *_ = CASES["diffusiondb"]
    fetch(prompt_set)
    prompts = prompt_set.prompts(HERE)
    assert [prompt.id for prompt in prompts] != sorted(prompt.id for prompt in prompts)
    parts = sorted(prompt_set._archives())
    by_name = {f"{part:08d}-0000-4000-8000-{index:012d}.png": sets.picture(part + index) for part in parts for index in range(4)}
    assert all(images.read(prompt.image) == by_name[prompt.id] for prompt in prompts)
    other = diffusiondb.DiffusionDB(count=6, parts=2, seed=1)
    assert sorted(other._archives()) != parts
    with pytest.raises(UserError, match="count: 9 wanted, 2 archives have 8; raise parts"):
        diffusiondb.DiffusionDB(count=9, parts=2).prompts(HERE)


def test_journeydb_unpacks_images_alone_and_takes_captions_on_request(world, tmp_path):
    prompt_set, world.files, _ = CASES["journeydb"]
    fetch(prompt_set)
    prompts = prompt_set.prompts(HERE)
    assert all(prompt.image is not None and prompt.text.endswith("in oil --ar 16:9") for prompt in prompts)
    assert not list(tmp_path.rglob("*.sh"))
    assert not list(tmp_path.rglob("escaped.jpg")), "names in an archive are no paths"
    captions = journeydb.JourneyDB(count=5, folders=2, text="caption").prompts(HERE)
    assert [p.id for p in captions] == [p.id for p in prompts]
    assert captions[0].text.startswith("A painting of")


def test_journeydb_s_training_split_is_another(world):
    split = journeydb.JourneyDB(split="train", count=5, folders=2)
    world.files = sets.journeydb(FOLDERS, "train", "train_anno_realease_repath")
    fetch(split)
    prompts = split.prompts(HERE)
    assert len(prompts) == 5
    assert all(isinstance(prompt.image, images.StoredImage) and "train" in str(prompt.image.path) for prompt in prompts)


def test_files_of_a_pattern_stay_what_they_were_when_the_repository_grows(world):
    prompt_set, files, _ = CASES["laion-coco"]
    world.files = dict(files)
    fetch(prompt_set)
    before = [prompt.id for prompt in prompt_set.prompts(HERE)]
    new = sets.laion_coco()["/datasets/laion/relaion-coco/part-00000-c000.snappy.parquet"]
    world.files |= {f"/datasets/laion/relaion-coco/new-{index}.parquet": new for index in range(9)}
    assert fetch(prompt_set) == []
    assert [prompt.id for prompt in prompt_set.prompts(HERE)] == before
    assert all(isinstance(source, HubFile) and source.revision == COMMIT for source in Library().files(prompt_set.sources()[0]))


def test_laion_coco_takes_the_images_that_one_has(world, tmp_path):
    _, world.files, _ = CASES["laion-coco"]
    fetch(laion_coco.LaionCoco(count=2, parts=1))
    first, second = laion_coco.LaionCoco(count=2, parts=1).prompts(HERE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / f"{second.id}.png").write_bytes(sets.picture(1))
    prompt_set = laion_coco.LaionCoco(count=2, parts=1, images="mine")
    prompts = prompt_set.prompts(tmp_path)
    assert [prompt.image and images.read(prompt.image) for prompt in prompts] == [None, sets.picture(1)]
    assert len(prompt_set.reference(tmp_path)) == 1
    assert first == prompts[0]


def test_a_changed_upstream_file_is_a_hash_error(world, monkeypatch, tmp_path):
    world.files = {"/parti/PartiPrompts.tsv": sets.parti() + b"\nanother\tArts\tBasic\t"}
    assert "wrong hash" in str(fetch(parti_prompts.PartiPrompts())[0])
    with pytest.raises(UserError, match="not fetched yet"):
        parti_prompts.PartiPrompts().prompts(HERE)


@pytest.mark.parametrize("name", ["coco2017", "journeydb", "diffusiondb"])
def test_a_file_of_another_layout_is_one_line(world, name):
    prompt_set, files, _ = CASES[name]
    world.files = dict.fromkeys(files, b"nonsense")
    fetch(prompt_set)
    with pytest.raises(UserError) as caught:
        prompt_set.prompts(HERE)
    assert "\n" not in str(caught.value)
