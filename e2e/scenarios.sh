# Which scenarios there are, and which CI runs. Sourced by e2e/run; the scenarios themselves are in scenarios/.

# What CI runs: at most 15 minutes of two cores, with the cluster and the images.
SHARE=(
  bad_objects_are_refused_with_a_reason
  plugins_run_and_the_app_answers_through_them
  versions_roll_out_and_back_under_load
  rb_1_one_pod_is_watched_then_the_next
  coupled_upgrade_in_any_order
  leader_killed_after_the_canary
  taken_away_while_paused
  new_plugin_from_an_absent_registry
  required_sandbox_is_enforced_or_refused
  namespace_deleted
)

ALL=(
  bad_objects_are_refused_with_a_reason
  plugins_run_and_the_app_answers_through_them
  versions_roll_out_and_back_under_load
  rb_1_one_pod_is_watched_then_the_next
  faulty_plugins_are_told_why_and_disturb_no_other
  configuration_reaches_plugins_without_reload
  killed_plugin_process_is_restarted
  deleted_plugin_is_unloaded
  folder_in_any_order

  coupled_upgrade_in_any_order
  breaking_upgrade_waits_for_its_dependent
  version_crashes_without_an_operator
  rotated_secret_of_a_failed_version
  scaled_from_nothing_with_a_bad_version
  jobs_prove_a_version
  outage_is_ended_by_a_new_version
  registry_out_of_reach_of_one_pod
  killed_sidecars_on_trial
  evicted_pod_on_trial
  taken_away_while_paused
  taken_away_while_another_starts
  plugin_dead_after_its_grace
  new_plugin_from_an_absent_registry
  pull_secret_added_later
  two_hosts_share_a_plugin
  relabelled_pod_joins_another_host

  leader_killed_after_the_canary
  frozen_leader_in_the_middle_of_a_rollout
  plugin_made_again_without_an_operator
  restarted_operator_changes_no_status
  operator_upgraded_with_a_new_authority
  unreadable_object_is_held
  invalid_host_holds_and_takes_away

  required_sandbox_is_enforced_or_refused
  memory_that_does_not_fit_is_refused
  engines_are_shared_by_pods
  exceeded_error_threshold_is_told_once
  plugins_stop_although_the_app_does_not

  pages_of_others_reach_nothing

  namespace_deleted
  host_deleted_and_made_again
  release_removed_and_made_again
  release_removed_without_hooks
  operator_namespace_deleted
  namespace_deleted_in_cluster_mode
)

# Those that touch what all share: the release, the authority, the definitions.
ALONE=(
  operator_upgraded_with_a_new_authority
  unreadable_object_is_held
  namespace_deleted
  release_removed_and_made_again
  release_removed_without_hooks
  operator_namespace_deleted
  namespace_deleted_in_cluster_mode
)
