"""The settings' files: their keys, and what is refused."""

import pytest
from conftest import MODEL
from misc import config

from common.cli import UserError


@pytest.fixture
def load(tmp_path):
    def call(text):
        path = tmp_path / "my.yml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return config.load(path)

    return call


@pytest.mark.parametrize("dataset", ["birds", "flowers"])
def test_the_pages_files(dataset):
    """Both stages' settings hold the original's numbers."""
    first, second = (config.load(MODEL / stage / "cfg" / f"{dataset}.yml") for stage in ("stageI", "stageII"))
    page = {"dataset_name": dataset, "embedding_type": "cnn-rnn", "gpu_id": 0, "z_dim": 100, "flag": True}
    page.update(batch_size=64, num_copy=4, snapshot_interval=2000, discriminator_lr=2e-4, generator_lr=2e-4)
    page.update(num_embedding=4, coeff_kl=2.0, embedding_dim=128, df_dim=64, gf_dim=128, network_type="default")
    page.update(cond_augmentation=True, b_wrong=True)
    assert page.items() <= first.items() and page.items() <= second.items()
    differing = ("config_name", "max_epoch", "lr_decay_epoch", "pretrained_model")
    assert [first[name] for name in differing] == ["stageI", 600, 50, ""]
    assert [second[name] for name in differing] == ["stageII", 1200, 100, f"ckpt/{dataset}/stageI"]
    assert (second["pretrained_epoch"], second["finetune_lr"], second["ft_lr_retio"]) == (600, False, 0.1)


def test_every_settings_file_loads():
    files = list(MODEL.glob("**/cfg/*.yml"))
    assert len(files) == 8 and all(config.load(path)["config_name"] for path in files)


def test_values(load):
    """A number in either spelling, a whole one where a fraction may be; what is left out or empty is not set."""
    text = "TRAIN:\n  GENERATOR_LR: 2e-4\n  DISCRIMINATOR_LR: 1\n  PRETRAINED_MODEL:\n  COEFF:\n    KL: 0.5\nGAN:\n"
    options = load(text)
    assert options == {"generator_lr": 2e-4, "discriminator_lr": 1.0, "coeff_kl": 0.5}
    assert type(options["discriminator_lr"]) is float
    assert load("") == {} and config.defaults()["coeff_kl"] == 2.0


@pytest.mark.parametrize(
    "text, told",
    [
        ("Z_DIMS: 3", "unknown key Z_DIMS; the nearest known one is Z_DIM"),
        ("TRAIN:\n  COEFF:\n    K: 1", "unknown key TRAIN.COEFF.K; the nearest known one is TRAIN.COEFF.KL"),
        ("TRAIN:\n  COEFF:\n    KL: .nan", "TRAIN.COEFF.KL: 'nan' is not a number, at least 0"),
        ("TRAIN:\n  BATCH_SIZE: 6.5", "TRAIN.BATCH_SIZE: '6.5' is not a whole number, at least 1"),
        ("TRAIN:\n  FLAG: maybe", "TRAIN.FLAG: 'maybe' is neither True nor False"),
        ("TRAIN:\n  PRETRAINED_MODEL: [a, b]", "TRAIN.PRETRAINED_MODEL should be one value, and is a list"),
        ("GAN:\n  NETWORK_TYPE: wide", "GAN.NETWORK_TYPE: 'wide' is not default or simple"),
        ("TEST:\n  LR_IMSIZE: 128", "TEST.LR_IMSIZE: '128' is not 64"),
        ("- Z_DIM", "should hold keys and values"),
        ("TRAIN:\n  FLAG: [", "line 2: is no YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is no YAML"),
        (b"\x80\xff\x00\x01", "is no YAML"),
        ("[" * 5000, "is no YAML"),
        ("#" * 2**21, "has more than 1048576 bytes"),
    ],
)
def test_refusals(load, tmp_path, text, told):
    with pytest.raises(UserError) as error:
        load(text)
    message = str(error.value)
    assert message.startswith(f"--cfg {tmp_path / 'my.yml'}") and told in message and len(message) < 400
    with pytest.raises(UserError, match="cannot be read"):
        config.load(tmp_path / "none.yml")
