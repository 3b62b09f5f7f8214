"""A world with many rows of every kind that a list shows."""

from __future__ import annotations

# One world, $W. Most lists have 10,000 rows. Of most filters, one value has many rows and another value few.
FILL = """
INSERT INTO end_users (world_id, id, external_id, created_at, updated_at)
    SELECT $W, 'eu_' || n, 'u' || n, now() - make_interval(secs => n), now() FROM generate_series(1, 10000) n;
INSERT INTO api_keys (world_id, id, secret_hash, kind, hint, scopes, created_at)
    SELECT $W, 'key_' || n, sha256(n::text::bytea), 'restricted', 'rk', '{}', now() - make_interval(secs => n)
    FROM generate_series(1, 10000) n;
INSERT INTO devices (world_id, id, serial_number, model, end_user_id, created_at, updated_at)
    SELECT $W, 'dev_' || n, 's' || n, 'model_' || n % 10,
        CASE WHEN n % 1000 > 0 THEN 'eu_' || CASE WHEN n % 2 = 0 THEN 1 ELSE n END END,
        now() - make_interval(secs => n), now()
    FROM generate_series(1, 10000) n;
INSERT INTO commands (world_id, id, device_id, end_user_id, binding_generation, type, status, params,
        expires_at, created_at)
    SELECT $W, 'cmd_' || n, CASE WHEN n < 8000 THEN 'dev_1' ELSE 'dev_' || n END, 'eu_1', 1,
        'stop_recording',
        CASE WHEN n % 5000 = 0 THEN 'cancelled' ELSE (ARRAY['pending', 'executed', 'failed'])[n % 3 + 1] END,
        '{}', now() - make_interval(secs => n - 5), now() - make_interval(secs => n)
    FROM generate_series(1, 10000) n;
INSERT INTO firmware_releases (world_id, id, version, model, released_at, allow_downgrade, bin_object_key,
        bin_sha256, bin_file_size_bytes, bin_crc32, created_at, updated_at)
    SELECT $W, 'fw_' || n, '1.' || n, 'model_' || n % 10, now(), false, 'firmware/' || n, '', 1, '',
        now() - make_interval(secs => n), now()
    FROM generate_series(1, 10000) n;
INSERT INTO rollouts (world_id, id, firmware_release_id, model, percent, max_failure_rate, deadline_hours,
        status, created_at, updated_at)
    SELECT $W, 'rol_' || n, 'fw_' || CASE WHEN n % 2 = 0 THEN 1 ELSE n END, 'model_1', 100, 0.1, 1,
        'completed', now() - make_interval(secs => n), now()
    FROM generate_series(1, 10000) n;
INSERT INTO ota_assignments (world_id, id, device_id, firmware_release_id, rollout_id, status, deadline_at,
        assigned_at)
    SELECT $W, 'ota_' || n, 'dev_' || CASE WHEN n % 2 = 0 THEN 1 ELSE n END, 'fw_' || n,
        'rol_' || n % 10000 + 1, 'applied', now(), now() - make_interval(secs => n)
    FROM generate_series(1, 10000) n;
INSERT INTO recordings (world_id, id, end_user_id, device_id, status, source, recorded_at, consent_obtained,
        created_at, updated_at, uploaded_at)
    SELECT $W, 'rec_' || n, 'eu_' || CASE WHEN n % 2 = 0 THEN 1 ELSE n END,
        'dev_' || CASE WHEN n % 2 = 0 THEN 1 ELSE n END,
        CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'uploaded' END, 'device', now() - make_interval(mins => n),
        false, now() - make_interval(days => 30, secs => n), now(),
        now() - make_interval(days => 30, secs => n)
    FROM generate_series(1, 10000) n;
INSERT INTO media (world_id, id, recording_id, type, status, content_type, file_size_bytes, object_key,
        created_at, last_url_expires_at, reconcile_at)
    SELECT world_id, replace(id, 'rec', 'med'), id, 'audio', status, 'audio/opus', 1,
        CASE WHEN status = 'uploaded' THEN 'media/x/' || id END, created_at, now(), now()
    FROM recordings WHERE world_id = $W;
INSERT INTO transcriptions (world_id, id, recording_id, media_id, origin, status, provider, diarization,
        full_text, segments, created_at, updated_at)
    SELECT world_id, replace(id, 'rec', 'txn'), 'rec_' || (n - (n - 1) % 20),
        replace(id, 'rec', 'med'), 'request', CASE WHEN n % 1000 = 0 THEN 'pending' ELSE 'completed' END,
        'whisper', true, CASE WHEN n % 1000 > 0 THEN 'x' END, CASE WHEN n % 1000 > 0 THEN '[]'::bytea END,
        created_at, now()
    FROM recordings, substr(id, 5) AS t, cast(t AS integer) AS n WHERE world_id = $W;
INSERT INTO summaries (world_id, id, recording_id, transcription_id, origin, status, template_id,
        template_version, provider, output, replaced, created_at, updated_at)
    SELECT world_id, replace(id, 'txn', 'sum'), recording_id,
        replace(recording_id, 'rec', 'txn'), 'request', 'completed', 'tmpl_general_notes', 1,
        'gemini', '{}'::bytea, false, created_at, now()
    FROM transcriptions WHERE world_id = $W;
INSERT INTO summary_templates (world_id, id, name, version, created_at, updated_at)
    SELECT $W, 'tmpl_' || n, 'x', 1, now() - make_interval(secs => n), now() FROM generate_series(1, 10000) n;
INSERT INTO summary_template_versions (world_id, template_id, version, instructions, output_schema,
        created_at)
    SELECT world_id, id, 1, 'x', '{}', now() FROM summary_templates WHERE world_id = $W;
INSERT INTO ask_sessions (world_id, id, end_user_id, scope_type, recording_id, recording_ids, title,
        title_folded, title_from_message, message_count, last_message_at, created_at, updated_at)
    SELECT r.world_id, 'as_' || n, r.end_user_id, CASE WHEN n % 1000 = 0 THEN 'selected' ELSE 'recording' END,
        CASE WHEN n % 1000 > 0 THEN r.id END, ARRAY[r.id], 'Title ' || n, 'title ' || n, true, 2,
        now() - make_interval(secs => n), now(), now()
    FROM generate_series(1, 10000) n
    JOIN recordings r ON r.world_id = $W AND r.id = 'rec_' || CASE WHEN n % 2 = 0 THEN 2 ELSE n END;
INSERT INTO ask_session_recordings SELECT world_id, recording_ids[1], id FROM ask_sessions;
INSERT INTO ask_messages (world_id, session_id, place, id, role, content, parts, sources, created_at)
    SELECT $W, 'as_' || CASE WHEN n % 2 = 0 THEN 1 ELSE n END, n, 'msg_' || n, 'user', 'x', '[]', NULL, now()
    FROM generate_series(1, 10000) n;
INSERT INTO events (world_id, id, type, resource_id, dedupe, body, created_at, position)
    SELECT $W, 'evt_' || n, CASE WHEN n % 1000 = 0 THEN 'ota.failed' ELSE 'recording.created' END,
        'rec_' || CASE WHEN n % 2 = 0 THEN 1 ELSE n END, n::text,
        convert_to('{"id": "evt_' || n || '", "type": "x", "created_at": "2026-11-29T00:00:00.000Z", '
            '"data": {}}', 'UTF8'), now() - make_interval(secs => n), n
    FROM generate_series(1, 10000) n;
INSERT INTO webhooks (world_id, id, url, events, status, sealed_secret, created_at, updated_at)
    SELECT $W, 'wh_' || n, 'https://a.example', '{*}', 'enabled', '', now() - make_interval(secs => n), now()
    FROM generate_series(1, 10000) n;
INSERT INTO webhook_deliveries (world_id, id, webhook_id, event_id, resource_id, position, state, attempts,
        due_at, created_at)
    SELECT world_id, replace(id, 'evt', 'whd'),
        'wh_' || CASE WHEN position % 4 > 0 THEN 1 ELSE position % 10000 END, id, resource_id, position,
        CASE WHEN position % 1001 = 0 THEN 'failed' ELSE 'succeeded' END, 1, NULL,
        created_at
    FROM events WHERE world_id = $W;
INSERT INTO webhook_attempts (world_id, delivery_id, number, started_at, latency_ms, status)
    SELECT world_id, id, 1, created_at, 5, 200 FROM webhook_deliveries WHERE world_id = $W;
INSERT INTO erasures (world_id, id, resource_type, resource_id, prefixes, links_expire_at, state, created_at,
        due_at)
    SELECT $W, 'era_' || n, CASE WHEN n % 1000 = 0 THEN 'end_user' ELSE 'recording' END, 'gone_' || n, '{}',
        now(), CASE WHEN n % 1000 = 1 THEN 'open' ELSE 'closed' END, now() - make_interval(secs => n), now()
    FROM generate_series(1, 10000) n;
INSERT INTO holds (world_id, id, resource_type, resource_id, reason, placed_by_kind, created_at, released_at,
        settled_at)
    SELECT $W, 'hld_' || n, 'recording', 'rec_' || CASE WHEN n % 1000 > 0 THEN n - (n - 1) % 20 ELSE n END,
        'x', 'key', now() - make_interval(secs => n), CASE WHEN n % 1000 > 0 THEN now() END, now()
    FROM generate_series(1, 10000) n;
INSERT INTO audit_log (world_id, id, actor_kind, actor_id, action, resource_type, resource_id, created_at,
        details_hash)
    SELECT $W, 'aud_' || n, 'key', 'key_' || CASE WHEN n % 2 = 0 THEN 1 ELSE n END,
        CASE WHEN n % 1000 = 0 THEN 'config.updated' ELSE 'recording.created' END,
        CASE WHEN n % 1000 = 0 THEN 'project' ELSE 'recording' END,
        'rec_' || CASE WHEN n % 2 = 0 THEN 1 ELSE n END, now() - make_interval(secs => n), 'hash'
    FROM generate_series(1, 10000) n;
INSERT INTO audit_details (world_id, entry_id, salt, details)
    SELECT world_id, id, 'salt', '{"before": null, "after": null, "address": null}' FROM audit_log
    WHERE world_id = $W;
INSERT INTO audit_chain (world_id, number, entry_id, hash)
    SELECT world_id, row_number() OVER (ORDER BY id), id, 'hash' FROM audit_log WHERE world_id = $W;
INSERT INTO config_overrides (world_id, level, subject_id, section, value, revision, updated_at)
    VALUES ($W, 'project', '', 'retention', '{"recordings_days": 10, "audio_days": 5}', 1,
        now() - interval '10 days');
"""

# 2,000 more worlds, each with two rows of every table in which the world $W has rows. Ids, and what else must
# differ from world to world, end with the world's id.
BESIDE = """
INSERT INTO projects SELECT 'small_' || n, o.id, 'x', now()
    FROM (SELECT id FROM organizations LIMIT 1) o, generate_series(1, 2000) n;
INSERT INTO worlds (project_id, mode) SELECT id, 'live' FROM projects WHERE id LIKE 'small%';
DO $$
DECLARE
    filled regclass;
    names text;
    copies text;
BEGIN
    FOR filled IN
        SELECT attrelid FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE attname = 'world_id' AND relkind = 'r' AND relnamespace = 'public'::regnamespace
    LOOP
        SELECT string_agg(quote_ident(attname), ', '), string_agg(CASE
            WHEN attname = 'world_id' THEN 'w.id'
            WHEN attname !~ '^id$|_id$' AND attnum <> ALL (coalesce(unique_without_world, '{}'))
                THEN 'r.' || quote_ident(attname)
            WHEN atttypid = 'bytea'::regtype THEN format('sha256(r.%I || w.id::text::bytea)', attname)
            WHEN atttypid = 'text'::regtype THEN format('r.%I || ''_'' || w.id', attname)
            ELSE format('r.%I + 100000 * w.id', attname) END, ', ')
        INTO names, copies
        FROM pg_attribute, (
            SELECT array_agg(k) AS unique_without_world
            FROM pg_index, unnest(indkey) k
            WHERE indrelid = filled AND indisunique AND (
                SELECT attnum FROM pg_attribute WHERE attrelid = filled AND attname = 'world_id'
            ) <> ALL (indkey)
        ) of_indexes
        WHERE attrelid = filled AND attnum > 0 AND NOT attisdropped
            AND (attidentity, attgenerated) = ('', '');
        EXECUTE format(
            'INSERT INTO %s (%s) SELECT %s FROM worlds w, (SELECT * FROM %s WHERE world_id = $W LIMIT 2) r
            WHERE w.project_id LIKE ''small%%''', filled, names, copies, filled);
    END LOOP;
END $$;
"""
