"""Object names and their parts."""

from dataclasses import replace

import pytest

from lapel.foundation.storage import object_names

SEALED = object_names.SealedName("proj_1", "rec_2", "session")
ATTEMPT = object_names.AttemptName("proj_1", "rec_2", "med_3", "att_4")


def test_names() -> None:
    assert ATTEMPT.staging_key() == "staging/proj_1/rec_2/med_3/att_4"
    assert ATTEMPT.final_key("audio", "audio/opus") == "media/proj_1/rec_2/med_3/att_4/audio.opus"


@pytest.mark.parametrize(
    ("content_type", "name"),
    [
        ("audio/mpeg", "audio.mp3"),
        ("Audio/OGG; codecs=opus", "audio.ogg"),
        ("audio/x-m4a", "audio.m4a"),
        ("application/unheard-of", "audio.bin"),
    ],
)
def test_extensions(content_type: str, name: str) -> None:
    assert ATTEMPT.final_key("audio", content_type).endswith(f"/{name}")


def test_a_name_is_read_back() -> None:
    assert object_names.parse(ATTEMPT.staging_key()) == ATTEMPT
    assert object_names.parse(ATTEMPT.final_key("video", "video/mp4")) == ATTEMPT


@pytest.mark.parametrize("key", ["", "staging/a/b/c", "media/a/b/c/d", "other/a/b/c/d", "staging/a/b/c/d/e"])
def test_other_names_are_nobodys(key: str) -> None:
    assert object_names.parse(key) is None


def test_a_sealed_name_tells_its_session() -> None:
    assert object_names.parse_sealed(SEALED.key()) == SEALED
    assert object_names.parse_sealed(ATTEMPT.staging_key()) is None


def test_the_prefixes_cover_every_name_of_the_recording_and_no_neighbour() -> None:
    staging, media, sealed = object_names.recording_prefixes("proj_1", "rec_2")
    assert SEALED.key().startswith(sealed)
    assert not replace(SEALED, recording_id="rec_22").key().startswith(sealed)
    assert ATTEMPT.staging_key().startswith(staging)
    assert ATTEMPT.final_key("image", "image/png").startswith(media)
    assert not object_names.AttemptName("proj_1", "rec_22", "m", "a").staging_key().startswith(staging)
