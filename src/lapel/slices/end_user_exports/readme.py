"""The text that explains the files of an export to a person."""

from __future__ import annotations

README = """\
This archive has everything that Lapel keeps about one person (an "end user").

README.txt             this text
end_user.json          the person: name, email, the customer's own id, and further facts (metadata)
end_user_token.json    when the person's token was issued and when it ends; null without a token
api_keys.json          the keys that read only this person's data; a key itself is not stored
configuration.json     the settings that apply to the person
devices.json           the devices that are bound to the person now
device_states.json     what each of these devices last reported
commands.json          the commands to devices, while they were bound to the person
diagnostics.json       the diagnostic messages of devices, while they were bound to the person
events.json            messages about devices, as they are kept for other systems of the customer
audit_log.json         who changed what about the person, the person's recordings and devices, and when; this
                       export too
ask_sessions/ID.json   questions about recordings, and their answers
recordings/ID/         one folder for each recording:
  recording.json         time, name, duration, consent, further facts (metadata), media
  (a name).opus, .jpg    the media: audio, images, video, as they were uploaded
  transcriptions/ID.json what was said, with the time of each word
  transcriptions/ID.txt  the same as plain text
  summaries/ID.json      what was said, in short, with the prompt that asked for it
  events.json            messages about the recording, as they are kept for other systems of the customer
manifest.json          each file with its size and SHA-256 sum, and what could not be included

audit_log.json is only in archives that the customer made, not in those made with a key that reads only this
person's data.

JSON files have the form of Lapel's HTTP API (/v1/openapi.json). Times are in UTC. A file that has several
entries begins with the newest entry, except for events and diagnostics.

Tokens, keys and passwords are not in the archive: Lapel stores only their hashes. Copies that Lapel makes for
its own work are not in it either (waveforms, unfinished steps of a transcription or a summary, answers kept
for repeated requests); they hold nothing that is not in the files above.
"""
