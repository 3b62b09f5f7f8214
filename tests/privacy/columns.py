"""The columns that hold no personal data, table by table, each under the reason for it.

A column that is neither here nor in the table of docs/privacy.md fails `test_inventory.py`: decide which of
both it is. A column in which a client can write any text is personal if the text may be about an end user.
"""

from __future__ import annotations

# Reason, table, columns.
_PLAIN = """
id: made by Lapel at random (or a world's number), so that it says nothing about a person
    api_keys            world_id id rotated_to secret_id
    ask_answer_recordings world_id recording_id session_id
    ask_answers         world_id id session_id
    ask_messages        world_id session_id id
    ask_session_recordings world_id recording_id session_id
    ask_sessions        world_id id recording_id recording_ids
    audio_facts         world_id media_id recording_id
    audit_chain         world_id entry_id
    audit_checkpoints   world_id
    audit_details       world_id entry_id
    audit_log           world_id id request_id
    audit_unchained     world_id entry_id
    commands            world_id id device_id
    config_overrides    world_id
    daily_audio         world_id
    language_reservations world_id id
    language_usage      world_id
    device_diagnostics  world_id device_id
    device_tokens       world_id device_id secret_id
    devices             world_id id active_recording_id
    document_signing_keys project_id key_id
    encrypted_upload_sessions world_id id recording_id device_id recipient_key_id predecessor_id lease
    encrypted_upload_sessions media_id staging_key
    end_user_tokens     world_id secret_id issued_by
    end_users           world_id
    erasures            world_id id prefixes recording_id
    event_positions     world_id
    events              world_id id resource_id dedupe test_for
    firmware_releases   world_id id bin_object_key ufw_object_key
    full_worlds         world_id
    erasures            requested_by_id
    holds               world_id id placed_by_id released_by_id
    idempotency_keys    world_id
    key_caches          process_id
    local_copies        world_id recording_id holder
    media               world_id id recording_id object_key
    organization_config_overrides organization_id
    organizations       id
    ota_assignments     world_id id device_id firmware_release_id rollout_id
    pgqueuer            id queue_manager_id dedupe_key
    pgqueuer_log        id job_id
    pgqueuer_schedules  id
    pgqueuer_statistics id
    job_starts          job_id
    projects            id organization_id
    provider_slots      world_id
    recordings          world_id id device_id transcription_id
    remote_copies       world_id copy_id work_id lease
    rollouts            world_id id firmware_release_id position
    search_chunks       world_id id recording_id transcription_id
    search_transcripts  world_id recording_id transcription_id lease
    search_turns        world_id
    search_vectors      world_id chunk_id recording_id
    speech_turns        world_id
    speech_work         world_id id recording_id media_id transcription_id lease worker
    summaries           world_id id recording_id transcription_id template_id
    summary_parts       world_id summary_id
    summary_template_versions world_id template_id
    summary_templates   world_id id
    summary_turns       world_id
    summary_work        world_id id recording_id lease
    tombstones          world_id id
    transcription_pieces world_id transcription_id
    transcriptions      world_id id recording_id media_id
    upload_attempts     world_id media_id id staging_key
    upload_policies     world_id device_id
    upload_policy_counters project_id
    upload_tokens       world_id recording_id issued_by
    webhook_attempts    world_id delivery_id
    webhook_deliveries  world_id id webhook_id event_id resource_id
    webhooks            world_id id issued_by
    workers             process_id
    worlds              id project_id
time: when Lapel did something, or when something ends; what it was is in other columns
    api_keys            expires_at revoked_at last_used_at created_at issued_revoked_at told_ends
    ask_answers         created_at seen_at
    ask_messages        created_at
    ask_sessions        last_message_at created_at updated_at
    audio_facts         probed_at
    audit_checkpoints   created_at
    audit_log           created_at
    commands            expires_at delivered_at executed_at created_at
    config_overrides    updated_at
    daily_audio         day
    language_reservations day ends_at
    language_usage      day
    device_diagnostics  received_at
    device_tokens       created_at
    document_signing_keys created_at activated_at retired_at
    encrypted_upload_sessions accepted_at publish_at published_at clear_at expires_at created_at updated_at
    devices             bound_at last_heartbeat_at last_seen_at last_synced_at created_at updated_at
    devices             deleted_at active_since offline_since low_battery_since diagnostics_day
    end_user_tokens     created_at expires_at
    end_users           created_at updated_at deleted_at
    erasures            links_expire_at created_at due_at released_at first_empty_at closed_at
    events              created_at
    findings            last_found_at
    firmware_releases   released_at created_at updated_at
    full_worlds         measured_at
    holds               created_at released_at settled_at told_released_at
    idempotency_keys    created_at
    installation_secret recorded_at
    token_peppers       kept_at
    job_starts          last_started_at
    key_caches          seen_at
    local_copies        renewed_at
    media               captured_at created_at uploaded_at last_url_expires_at reconcile_at
    organization_config_overrides updated_at
    organizations       created_at
    ota_assignments     deadline_at assigned_at delivered_at applied_at ended_at
    pgqueuer            created updated heartbeat execute_after
    pgqueuer_log        created
    pgqueuer_schedules  heartbeat created updated next_run last_run
    pgqueuer_statistics created
    projects            created_at
    provider_slots      created_at updated_at
    rate_windows        window_start
    recordings          started_at ended_at recorded_at content_sha256_verified_at
    recordings          created_at deleted_at updated_at uploaded_at audio_erased_at
    retention_counts    last_erased_at
    remote_copies       available_at created_at
    rollouts            walked_at created_at updated_at
    search_chunks       recorded_at
    search_transcripts  embed_at indexed_at
    search_turns        served_at
    search_vectors      recorded_at
    speech_turns        served_at
    speech_work         available_at created_at counted_on
    summaries           started_at completed_at created_at updated_at
    summary_template_versions created_at
    summary_templates   created_at updated_at
    summary_turns       served_at
    summary_work        available_at created_at failing_since
    tombstones          created_at deleted_at
    transcriptions      started_at completed_at created_at updated_at
    upload_attempts     url_expires_at created_at refused_at
    upload_tokens       expires_at
    walks               moved_at
    webhook_attempts    started_at
    webhook_deliveries  due_at leased_until created_at ended_at
    webhooks            previous_secret_until failing_since paused_until created_at updated_at deleted_at
    webhooks            verified_at recovery_since recovery_until recovery_ended_at
    workers             seen_at
count: a number that Lapel or a device counted or measured
    ask_answer_recordings place
    ask_answers         place
    ask_messages        place tokens_input tokens_output tokens_cached
    ask_sessions        message_count
    audio_facts         duration_ms channels sample_rate cuts gaps
    audit_chain         number
    audit_checkpoints   position number
    commands            binding_generation
    config_overrides    revision
    daily_audio         milliseconds
    language_reservations tokens
    language_usage      calls input_tokens output_tokens cached_tokens cost_micros
    device_diagnostics  schema_version
    device_tokens       binding_generation
    devices             binding_generation battery_percent storage_used_mb storage_total_mb
    devices             signal_strength_dbm heartbeat_slot config_revision diagnostics_bytes
    end_users           config_revision
    erasures            objects_erased
    retention_counts    erased
    event_positions     last
    events              inserted position erased
    findings            found
    firmware_releases   release_sequence bin_file_size_bytes ufw_file_size_bytes
    full_worlds         bytes
    idempotency_keys    status
    job_starts          starts charges failures
    media               file_size_bytes duration_ms claimed_duration_ms
    organization_config_overrides revision
    pgqueuer            priority attempts slot
    pgqueuer_log        priority
    pgqueuer_statistics count priority
    rate_windows        used
    recordings          duration_ms claimed_duration_ms recording_generation file_size_bytes
    recordings          encryption_version binding_generation
    remote_copies       failures
    rollouts            percent max_failure_rate deadline_hours offered
    search_chunks       place start_ms end_ms
    search_transcripts  chunks tries stale_from
    speech_work         piece failures starts charges turns counted_ms
    summaries           template_version
    summary_template_versions version
    summary_templates   version
    summary_work        failures starts charges
    transcription_pieces piece
    transcriptions      progress num_speakers language_probability duration_ms word_count confidence
    upload_attempts     file_size_bytes expected_size expected_duration_ms
    upload_policies     revision
    encrypted_upload_sessions owner_revision policy_revision binding_generation recording_generation
    encrypted_upload_sessions ciphertext_length plaintext_length tries
    upload_policy_counters revision
    webhook_attempts    number latency_ms status
    webhook_deliveries  position attempts tries
    webhooks            failures recovery_queued recovery_brought_forward
    worlds              config_revision
state: one of a few words or yes and no, checked when it is written
    alembic_version     version_num oldest_compatible
    installation_secret only_row
    api_keys            kind scopes
    ask_answers         state stop_wanted error_code
    ask_messages        role model provider finish_reason
    ask_sessions        scope_type title_from_message last_model last_provider
    audio_facts         codec container mime_type error_code
    audit_log           actor_kind action resource_type
    commands            type status inferred
    config_overrides    level section
    device_tokens       state
    devices             last_seen_by last_synced_by initiated_by diagnostics_taken
    erasures            resource_type state entered reason requested_by_kind
    retention_counts    kind
    events              type
    findings            kind
    firmware_releases   allow_downgrade
    holds               resource_type placed_by_kind released_by_kind is_told
    media               type status content_type failure
    organization_config_overrides mode section
    ota_assignments     status withdrawn
    pgqueuer            status entrypoint
    pgqueuer_log        status entrypoint aggregated
    pgqueuer_schedules  expression entrypoint status
    pgqueuer_statistics status entrypoint
    provider_slots      slot engine allow_training context_tokens input_price output_price
    provider_slots      cached_price cache_write_price
    recordings          status source upload_method mime_type consent_obtained damaged
    remote_copies       engine slot
    rollouts            status
    search_transcripts  configuration model has_old words_version
    search_vectors      configuration model
    speech_turns        lane
    speech_work         lane stage engine waits_for_room
    summaries           origin status provider model error_code replaced
    summary_parts       part
    transcription_pieces stage
    transcriptions      origin status provider language_asked languages_asked diarization language model
    transcriptions      error_code
    upload_attempts     content_type state
    upload_policies     policy
    encrypted_upload_sessions state channel policy
    walks               name
    webhook_deliveries  state failure
    webhooks            events status disabled_reason recovery_state
    worlds              mode
hash: of a secret, of bytes or of a request; or a secret that is sealed: nobody can read it back
    api_keys            secret_hash hint
    ask_answers         claim
    audit_chain         hash
    audit_checkpoints   token
    audit_details       salt
    audit_log           details_hash
    device_tokens       token_hash
    devices             public_key
    end_user_tokens     token_hash
    installation_secret fingerprint
    token_peppers       secret_id sealed_pepper
    document_signing_keys public_key sealed_private_key
    firmware_releases   bin_sha256 bin_crc32 ufw_sha256
    idempotency_keys    key fingerprint
    media               sha256
    provider_slots      sealed_key
    recordings          content_sha256
    upload_attempts     sha256 expected_sha256
    upload_tokens       token_hash
    upload_policies     configuration_sha256
    encrypted_upload_sessions ciphertext_sha256 upload_authorization sealed_recipient_key auth_nonce
    encrypted_upload_sessions manifest receipt
    webhooks            sealed_secret sealed_previous_secret
device: a fact about a device, which keeps it whoever wears it
    devices             serial_number model firmware_version recording_state settings
    ota_assignments     error_message
    device_diagnostics  event_id
    recordings          recording_uuid
    encrypted_upload_sessions recording_uuid capabilities
operator: written by the operator or the customer about their own systems
    firmware_releases   version model changelog
    organization_config_overrides value
    encrypted_upload_sessions configuration
    organizations       name
    projects            name
    provider_slots      model base_url
    remote_copies       base_url
    rollouts            model halt_reason
    summary_template_versions instructions output_schema
    summary_templates   name description
    webhooks            url description metadata
fault: why a part of Lapel or a service failed, in a few words of ours
    ask_answers         error_message
    audio_facts         error_message warnings
    encrypted_upload_sessions failure_code failure_message
    pgqueuer_log        traceback
    recordings          warnings
    remote_copies       fault
    transcriptions      error_message warnings
    webhook_attempts    error
internal: of the queue or of the counters, without content
    pgqueuer            headers
    rate_windows        bucket
    walks               position
"""


def _plain() -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    reason = ""
    for line in _PLAIN.strip().splitlines():
        if not line.startswith(" "):
            reason = line
            continue
        table, *columns = line.split()
        for column in columns:
            assert (table, column) not in found, f"{table}.{column} is here twice"
            found[table, column] = reason
    return found


PLAIN = _plain()
