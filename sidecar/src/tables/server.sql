-- Instances write rows of their own; what the reference calls plugins and plugin_hooks is seen over all of them.
CREATE TABLE IF NOT EXISTS rockstar_plugins (
    instance text NOT NULL,
    name text NOT NULL,
    status text NOT NULL,
    error_count bigint NOT NULL,
    last_error text,
    last_error_at timestamptz,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (instance, name)
);
CREATE TABLE IF NOT EXISTS rockstar_plugin_hooks (
    instance text NOT NULL,
    plugin_name text NOT NULL,
    hook_type text NOT NULL,
    execution_count bigint NOT NULL,
    total_duration_ms double precision NOT NULL,
    error_count bigint NOT NULL,
    PRIMARY KEY (instance, plugin_name, hook_type)
);
CREATE TABLE IF NOT EXISTS plugin_metrics (
    plugin_name text NOT NULL,
    metric_name text NOT NULL,
    metric_value double precision NOT NULL,
    recorded_at timestamptz NOT NULL,
    instance text NOT NULL
);
CREATE INDEX IF NOT EXISTS plugin_metrics_of_plugin ON plugin_metrics (plugin_name, metric_name, recorded_at);
CREATE INDEX IF NOT EXISTS plugin_metrics_by_age ON plugin_metrics (recorded_at);
CREATE OR REPLACE VIEW plugins AS
SELECT name,
    (array_agg(status ORDER BY
        array_position(ARRAY['error', 'stopped', 'unloaded', 'loading', 'initialized', 'running'], status)))[1] AS status,
    sum(error_count)::bigint AS error_count,
    (array_agg(last_error ORDER BY last_error_at DESC NULLS LAST))[1] AS last_error,
    max(last_error_at) AS last_error_at
FROM rockstar_plugins GROUP BY name;
CREATE OR REPLACE VIEW plugin_hooks AS
SELECT plugin_name, hook_type,
    sum(execution_count)::bigint AS execution_count,
    sum(total_duration_ms) AS total_duration_ms,
    sum(error_count)::bigint AS error_count
FROM rockstar_plugin_hooks GROUP BY plugin_name, hook_type;
