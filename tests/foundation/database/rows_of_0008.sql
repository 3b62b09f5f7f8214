-- Rows as revision 0008 had them, in every table. `eu:ada` stands for an id; the test fills it up to its length.
-- Worlds: 11 and 12 of one project, 13 and 14 of another one.
INSERT INTO organizations VALUES ('org:one', 'One', '2026-01-01Z'), ('org:two', 'Two', '2026-01-01Z');
INSERT INTO projects VALUES ('proj:one', 'org:one', 'One', '2026-01-01Z'), ('proj:two', 'org:two', 'Two', '2026-01-01Z');
INSERT INTO worlds (id, project_id, mode) OVERRIDING SYSTEM VALUE VALUES
    (11, 'proj:one', 'live'), (12, 'proj:one', 'test'), (13, 'proj:two', 'live'), (14, 'proj:two', 'test');

-- The same id in two worlds; `gone` was erased before there was anything to erase in its events.
INSERT INTO end_users (world_id, id, external_id, name, email, metadata, created_at, updated_at, deleted_at) VALUES
    (11, 'eu:ada', 'ada', 'Ada', 'ada@example.com', '{"a": "ü😀"}', '2026-01-02Z', '2026-01-02Z', NULL),
    (11, 'eu:ben', NULL, NULL, NULL, '{}', '2026-01-02Z', '2026-01-02Z', NULL),
    (11, 'eu:gone', NULL, NULL, NULL, '{}', '2026-01-02Z', '2026-02-01Z', '2026-02-01Z'),
    (12, 'eu:ada', 'ada', 'Ada', NULL, '{}', '2026-01-02Z', '2026-01-02Z', NULL),
    (13, 'eu:gone', 'eve', 'Not gone in this world', NULL, '{}', '2026-01-02Z', '2026-01-02Z', NULL);
INSERT INTO end_user_tokens VALUES ('\x0101', 11, 'eu:ada', '2026-01-03Z'), ('\x0102', 13, 'eu:gone', '2026-01-03Z');
INSERT INTO api_keys (world_id, id, secret_hash, kind, name, hint, scopes, end_user_id, expires_at, revoked_at, created_at) VALUES
    (12, 'key:one', '\x0203', 'restricted', NULL, 'rk_test_…abcd', '{devices:read}', 'eu:ada', '2026-06-01Z', NULL, '2026-01-02Z'),
    (11, 'key:ada', '\x0204', 'restricted', 'Ada''s', 'rk_live_…abcd', '{devices:read}', 'eu:ada', NULL, '2026-01-03Z', '2026-01-02Z'),
    (11, 'key:gone', '\x0205', 'restricted', 'Gone''s', 'rk_live_…abcd', '{devices:read}', 'eu:gone', NULL, '2026-02-01Z', '2026-01-02Z');
UPDATE api_keys SET rotated_to = 'key:gone' WHERE id = 'key:ada';
INSERT INTO key_caches VALUES ('process-of-before', '2026-02-01Z');

-- once: bound once, by a clock that is ahead. twice: Ada's, then Ben's. again: Ada's, Ben's, Ada's.
-- free: unbound. lost: deleted. other: another project's, with the same id as `once`.
INSERT INTO devices (world_id, id, serial_number, model, name, end_user_id, binding_generation, bound_at, last_seen_by,
    last_synced_by, recording_state, heartbeat_slot, last_heartbeat_at, settings, created_at, updated_at, deleted_at) VALUES
    (11, 'dev:once', 'SN-ONCE', 'bota_pin', 'Ada''s pin', 'eu:ada', 1, '2026-03-02Z', 'key', 'app_import',
     '{"device_state": "idle", "pending_recordings": null, "flags": 3, "connection_type": ["4g"]}', 1, '2026-03-03Z', '{}', '2026-01-02Z', '2026-03-03Z', NULL),
    (11, 'dev:twice', 'SN-TWICE', 'bota_pin', NULL, 'eu:ben', 2, '2026-03-02Z', 'device', 'device', '{"flags": 1}', 1, '2026-03-03Z', '{}', '2026-01-02Z', '2026-03-03Z', NULL),
    (11, 'dev:again', 'SN-AGAIN', 'bota_pin', 'Again', 'eu:ada', 3, '2026-03-02Z', NULL, NULL, NULL, NULL, NULL, '{}', '2026-01-02Z', '2026-03-03Z', NULL),
    (11, 'dev:free', 'SN-FREE', 'bota_pin', 'Nobody''s', NULL, 1, NULL, 'device', NULL,
     '{"device_state": "recording", "pending_recordings": 7, "flags": 0, "connection_type": []}', NULL, '2026-03-03Z', '{}', '2026-01-02Z', '2026-03-03Z', NULL),
    (11, 'dev:lost', '', '', NULL, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, '{}', '2026-01-02Z', '2026-03-03Z', '2026-03-03Z'),
    (13, 'dev:once', 'SN-ONCE', 'bota_pin', NULL, 'eu:gone', 1, '2026-03-02Z', NULL, NULL, NULL, NULL, NULL, '{}', '2026-01-02Z', '2026-03-03Z', NULL);
INSERT INTO device_tokens VALUES ('\x0301', 11, 'dev:once', 1, 'current', '2026-03-02Z'),
    ('\x0302', 11, 'dev:twice', 2, 'refreshing', '2026-03-02Z'), ('\x0303', 11, 'dev:twice', 2, 'fresh', '2026-03-02Z');
INSERT INTO device_diagnostics VALUES (11, 'dev:once', 'boot-1', 'eu:ada', 1, '{"kind": "boot"}', '2026-03-02Z'),
    (11, 'dev:free', 'boot-1', NULL, NULL, '{}', '2026-03-02Z');
INSERT INTO commands (world_id, id, device_id, end_user_id, binding_generation, type, status, params, result, error, expires_at, delivered_at, executed_at, created_at) VALUES
    (11, 'cmd:done', 'dev:once', 'eu:ada', 1, 'start_recording', 'executed', '{"max_duration_sec": 60, "upload_immediately": true, "metadata": {}}', '{"ok": true}', NULL, '2026-03-03Z', '2026-03-02Z', '2026-03-02Z', '2026-03-02Z'),
    (11, 'cmd:open', 'dev:once', 'eu:ada', 1, 'trigger_upload', 'pending', '{"max_duration_sec": 60, "upload_immediately": true, "metadata": {}}', NULL, NULL, '2026-03-03Z', NULL, NULL, '2026-03-02Z'),
    (11, 'cmd:bad', 'dev:once', 'eu:ada', 1, 'trigger_upload', 'failed', '{"max_duration_sec": 60, "upload_immediately": true, "metadata": {}}', NULL, '{"code": "busy", "message": "Busy."}', '2026-03-03Z', '2026-03-02Z', '2026-03-02Z', '2026-03-02Z');

INSERT INTO recordings (world_id, id, end_user_id, device_id, name, status, source, recorded_at, transcription_id, metadata, consent_obtained, recording_uuid,
    recording_generation, mime_type, file_size_bytes, created_at, updated_at, uploaded_at) VALUES
    (11, 'rec:once', 'eu:ada', 'dev:once', 'Behind the clock', 'uploaded', 'device', '2026-03-01Z', 'txn:old', '{"k": [1]}', true, '00000000-0000-0000-0000-000000000001', 1, 'audio/wav', 100, '2026-03-01Z', '2026-03-01Z', '2026-03-01Z'),
    (11, 'rec:hers', 'eu:ada', 'dev:twice', NULL, 'uploaded', 'device', NULL, NULL, '{}', false, '00000000-0000-0000-0000-000000000001', 1, 'audio/wav', 100, '2026-03-01Z', '2026-03-01Z', '2026-03-01Z'),
    (11, 'rec:his', 'eu:ben', 'dev:twice', NULL, 'uploaded', 'device', NULL, 'txn:same', '{}', false, '00000000-0000-0000-0000-000000000002', 1, 'audio/wav', 100, '2026-03-02Z', '2026-03-02Z', '2026-03-02Z'),
    (11, 'rec:first', 'eu:ada', 'dev:again', NULL, 'pending', 'device', NULL, NULL, '{}', false, '00000000-0000-0000-0000-000000000001', 1, NULL, NULL, '2026-03-01Z', '2026-03-01Z', NULL),
    (11, 'rec:third', 'eu:ada', 'dev:again', NULL, 'failed', 'device', NULL, 'txn:bad', '{}', false, '00000000-0000-0000-0000-000000000002', 1, NULL, NULL, '2026-03-03Z', '2026-03-03Z', NULL),
    (11, 'rec:ownerless', 'eu:ada', 'dev:free', NULL, 'integrity_failure', 'device', NULL, NULL, '{}', false, NULL, NULL, NULL, NULL, '2026-03-03Z', '2026-03-03Z', NULL),
    (11, 'rec:lost', 'eu:ada', 'dev:lost', NULL, 'uploaded', 'device', NULL, 'txn:run', '{}', false, NULL, NULL, 'audio/wav', 100, '2026-03-03Z', '2026-03-03Z', '2026-03-03Z'),
    (11, 'rec:api', 'eu:ada', NULL, NULL, 'uploaded', 'api_upload', NULL, NULL, '{}', false, NULL, NULL, 'audio/wav', 100, '2026-03-03Z', '2026-03-03Z', '2026-03-03Z'),
    (13, 'rec:once', 'eu:gone', 'dev:once', NULL, 'uploaded', 'device', NULL, NULL, '{}', false, '00000000-0000-0000-0000-000000000001', 1, 'audio/wav', 100, '2026-03-03Z', '2026-03-03Z', '2026-03-03Z');
INSERT INTO media (world_id, id, recording_id, type, status, content_type, file_size_bytes, sha256, object_key, created_at, uploaded_at, last_url_expires_at, reconcile_at)
    SELECT world_id, 'med_' || substr(id, 5), id, 'audio', CASE status WHEN 'pending' THEN 'pending' WHEN 'uploaded' THEN 'uploaded' ELSE 'failed' END,
        'audio/wav', file_size_bytes, CASE WHEN status = 'uploaded' THEN repeat('ab', 32) END,
        CASE WHEN status = 'uploaded' THEN world_id || id END, created_at, uploaded_at, created_at, 'infinity' FROM recordings;
INSERT INTO upload_attempts (world_id, media_id, id, staging_key, content_type, state, url_expires_at, created_at, refused_at) VALUES
    (11, 'med:first', 'att:one', 'staging/1', 'audio/wav', 'issued', 'infinity', '2026-03-01Z', NULL),
    (11, 'med:third', 'att:two', 'staging/2', 'audio/wav', 'refused', '2026-03-04Z', '2026-03-01Z', '2026-03-04Z');
INSERT INTO upload_tokens VALUES ('\x0401', 11, 'rec:first', '2026-03-02Z'), ('\x0402', 13, 'rec:once', 'infinity');
INSERT INTO tombstones VALUES (11, 'rec:deleted', '2026-01-02Z', '2026-02-01Z');
INSERT INTO erasures (world_id, id, resource_type, resource_id, end_user_id, prefixes, links_expire_at, state, objects_erased, created_at, due_at, first_empty_at, closed_at) VALUES
    (11, 'era:one', 'end_user', 'eu:gone', NULL, '{}', '2026-02-01Z', 'closed', 1, '2026-02-01Z', '-infinity', '2026-02-01Z', '2026-02-02Z'),
    (11, 'era:two', 'recording', 'rec:deleted', 'eu:gone', '{a/,b/}', '2026-02-01Z', 'erased', 2, '2026-02-01Z', 'infinity', '2026-02-01Z', NULL);

-- Completed twice, where the second says the same time: the greater id is newer. Then work under way and a failure.
INSERT INTO transcriptions (world_id, id, recording_id, media_id, origin, status, progress, provider, diarization, language, model, duration_ms,
    full_text, segments, word_count, error_code, error_message, started_at, completed_at, created_at, updated_at)
SELECT world, txn, rec, 'med_' || substr(rec, 5), CASE WHEN auto THEN 'auto' ELSE 'request' END, state, CASE state WHEN 'completed' THEN 1 ELSE 0.5 END, 'whisper', true, 'en', 'base', 1500,
    CASE state WHEN 'completed' THEN 'Good morning.' END,
    CASE state WHEN 'completed' THEN convert_to('[{"start":0.0,"end":1.5,"text":"Good morning.","speaker":"SPEAKER_0","confidence":0.9,"words":[{"start":0.0,"end":0.5,"word":"Good","confidence":0.9}]}]', 'UTF8') END,
    CASE state WHEN 'completed' THEN 2 END, CASE state WHEN 'failed' THEN 'audio_corrupt' END, CASE state WHEN 'failed' THEN 'No speech.' END,
    '2026-03-04Z', CASE state WHEN 'completed' THEN timestamptz '2026-03-04Z' END, at, at
FROM (VALUES
    (11, 'txn:old', 'rec:once', true, 'completed', timestamptz '2026-03-04Z'),
    (11, 'txn:new', 'rec:once', false, 'completed', '2026-03-05Z'),
    (11, 'txn:newer', 'rec:once', false, 'completed', '2026-03-05Z'),
    (11, 'txn:running', 'rec:once', false, 'processing', '2026-03-06Z'),
    (11, 'txn:failing', 'rec:once', false, 'failed', '2026-03-07Z'),
    (11, 'txn:same', 'rec:his', true, 'completed', '2026-03-04Z'),
    (11, 'txn:bad', 'rec:third', true, 'failed', '2026-03-04Z'),
    (11, 'txn:run', 'rec:lost', true, 'pending', '2026-03-04Z'),
    (11, 'txn:only', 'rec:api', false, 'completed', '2026-03-04Z'),
    (13, 'txn:old', 'rec:once', true, 'completed', '2026-03-04Z')
) AS made (world, txn, rec, auto, state, at);
INSERT INTO transcription_pieces VALUES (11, 'txn:running', 'transcribe', 1, '\x00ff');
INSERT INTO audio_facts (world_id, media_id, recording_id, duration_ms, channels, sample_rate, codec, container, mime_type, peaks, cuts, error_code, error_message, probed_at) VALUES
    (11, 'med:once', 'rec:once', 1500, 1, 16000, 'pcm_s16le', 'wav', 'audio/wav', '\x00', '{0,1500}', NULL, NULL, '2026-03-01Z'),
    (11, 'med:his', 'rec:his', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'no_audio', 'No audio.', '2026-03-01Z');
INSERT INTO speech_work (world_id, id, recording_id, media_id, transcription_id, lane, stage, available_at, created_at) VALUES
    (11, 'txn:running', 'rec:once', 'med:once', 'txn:running', 'inference', 'transcribe', 'infinity', '2026-03-06Z'),
    (13, 'med:once', 'rec:once', 'med:once', NULL, 'decode', 'probe', 'infinity', 'infinity');
INSERT INTO speech_turns VALUES ('decode', 13, '2026-03-06Z');
INSERT INTO provider_slots VALUES (11, 'whisper', 'openai', 'whisper-1', NULL, '\x00', '2026-01-02Z', '2026-01-02Z');

-- Device events of Ada, of the erased one, of an end user with the erased one's id in another world, and of nobody.
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at)
SELECT world, evt, kind, resource, evt, convert_to(format('{"id":"%s","type":"%s","created_at":"2026-03-01T00:00:00.000Z","data":{"id":"%s","end_user_id":%s,"name":"ü"}}', evt, kind, resource, coalesce('"' || who || '"', 'null')), 'UTF8'), '2026-03-01Z'
FROM (VALUES
    (11, 'evt:adas', 'device.offline', 'dev:once', 'eu:ada'),
    (11, 'evt:gones', 'device.bound', 'dev:twice', 'eu:gone'),
    (11, 'evt:nobodys', 'device.unbound', 'dev:free', NULL),
    (11, 'evt:recs', 'recording.uploaded', 'rec:once', 'eu:ada'),
    (11, 'evt:txns', 'transcription.completed', 'txn:same', NULL),
    (13, 'evt:gones', 'device.low_battery', 'dev:once', 'eu:gone')
) AS told (world, evt, kind, resource, who);
INSERT INTO idempotency_keys VALUES (11, 'key:one', 'ada', '\x00', 201, '\x00', '2026-03-01Z', 'eu:ada'),
    (11, 'key:one', 'gone', '\x00', 201, '', '2026-03-01Z', 'eu:gone'), (13, 'key:one', 'gone', '\x00', 201, '', '2026-03-01Z', 'eu:gone');
INSERT INTO audit_log VALUES
    (11, 'aud:ada', 'key', 'key:one', 'end_user.update', 'end_user', 'eu:ada', '{"name": "A"}', '{"name": "Ada"}', 'req:one', '2026-03-01Z'),
    (11, 'aud:gone', 'key', 'key:one', 'end_user.delete', 'end_user', 'eu:gone', NULL, NULL, NULL, '2026-03-01Z'),
    (13, 'aud:gone', 'operator', NULL, 'end_user.update', 'end_user', 'eu:gone', NULL, NULL, NULL, '2026-03-01Z');

INSERT INTO config_overrides VALUES (11, 'project', '', 'upload', '{"allow_roaming": true}', 1, '2026-03-01Z'),
    (11, 'end_user', 'eu:ada', 'upload', '{"allow_roaming": false}', 2, '2026-03-01Z'),
    (11, 'device', 'dev:once', 'upload', '{"allow_roaming": true}', 3, '2026-03-01Z');
INSERT INTO organization_config_overrides VALUES ('org:one', 'live', 'upload', '{"allow_roaming": true}', 4, '2026-03-01Z');
INSERT INTO firmware_releases (world_id, id, version, model, changelog, released_at, allow_downgrade, bin_object_key, bin_sha256, bin_file_size_bytes, bin_crc32, created_at, updated_at) VALUES
    (11, 'fw:one', '1.0.0', 'bota_pin', 'First.', '2026-01-02Z', false, 'fw/1', repeat('ab', 32), 10, '00ff00ff', '2026-01-02Z', '2026-01-02Z');
INSERT INTO rollouts (world_id, id, firmware_release_id, model, percent, max_failure_rate, deadline_hours, status, created_at, updated_at) VALUES
    (11, 'rol:one', 'fw:one', 'bota_pin', 10, 0.1, 24, 'running', '2026-01-02Z', '2026-01-02Z');
INSERT INTO ota_assignments (world_id, id, device_id, firmware_release_id, rollout_id, status, deadline_at, assigned_at) VALUES
    (11, 'ota:one', 'dev:once', 'fw:one', 'rol:one', 'pending', 'infinity', '2026-01-02Z');

INSERT INTO rate_windows VALUES ('key:one', 1, 1);
INSERT INTO walks VALUES ('objects', 'a', '2026-01-02Z');
INSERT INTO findings VALUES ('object-without-row', 1, '2026-01-02Z');
INSERT INTO job_starts VALUES (1, 1, '2026-01-02Z');
INSERT INTO workers VALUES ('worker-of-before', '2026-01-02Z');
