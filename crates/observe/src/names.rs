//! Every name that leaves the program in metrics and logs, once.

/// Istio's standard metrics (istio.io, "Istio Standard Metrics").
pub const REQUESTS: &str = "istio_requests_total";
pub const REQUEST_DURATION: &str = "istio_request_duration_milliseconds";
pub const REQUEST_DURATION_BUCKET: &str = "istio_request_duration_milliseconds_bucket";
pub const REQUEST_DURATION_SUM: &str = "istio_request_duration_milliseconds_sum";
pub const REQUEST_DURATION_COUNT: &str = "istio_request_duration_milliseconds_count";
pub const REQUEST_BYTES: &str = "istio_request_bytes";
pub const REQUEST_BYTES_SUM: &str = "istio_request_bytes_sum";
pub const REQUEST_BYTES_COUNT: &str = "istio_request_bytes_count";
pub const RESPONSE_BYTES: &str = "istio_response_bytes";
pub const RESPONSE_BYTES_SUM: &str = "istio_response_bytes_sum";
pub const RESPONSE_BYTES_COUNT: &str = "istio_response_bytes_count";
pub const TCP_OPENED: &str = "istio_tcp_connections_opened_total";
pub const TCP_CLOSED: &str = "istio_tcp_connections_closed_total";
pub const TCP_SENT: &str = "istio_tcp_sent_bytes_total";
pub const TCP_RECEIVED: &str = "istio_tcp_received_bytes_total";

/// Tautline's own.
pub const CERTIFICATE_EXPIRY: &str = "taut_certificate_expiry_seconds";
pub const CERTIFICATE_ALARM: &str = "taut_certificate_alarm";
pub const CONNECTED: &str = "taut_control_plane_connected";
pub const PLAN_VERSION: &str = "taut_plan_version";
pub const CONNECTIONS_OPEN: &str = "taut_connections_open";
pub const RETRIES: &str = "taut_retries_total";
pub const RATE_LIMITED: &str = "taut_rate_limited_total";
pub const POLICY_REFUSALS: &str = "taut_policy_refusals_total";
pub const DRY_RUN_REFUSALS: &str = "taut_policy_dry_run_refusals_total";
pub const ENDPOINTS_UNWELL: &str = "taut_endpoints_failing_checks";
pub const HEDGES: &str = "taut_hedges_total";
pub const SHED: &str = "taut_requests_shed_total";
pub const WAITED: &str = "taut_requests_waited_total";
pub const CONCURRENCY_LIMIT: &str = "taut_concurrency_limit";
pub const MIRRORS_DROPPED: &str = "taut_mirrors_dropped_total";
pub const SERIES_OVERFLOW: &str = "taut_metric_series_overflow_total";
pub const ACCESS_LOG_DROPPED: &str = "taut_access_log_dropped_total";
/// Spans, metric points and log records that a collector has taken; and those that none has, and why.
pub const TELEMETRY_EXPORTED: &str = "taut_telemetry_exported_total";
pub const TELEMETRY_DROPPED: &str = "taut_telemetry_dropped_total";
pub const BUILD: &str = "taut_build_info";

/// The control plane's.
pub const CONTROL_PROXIES: &str = "taut_control_proxies";
pub const CONTROL_VERSION: &str = "taut_control_store_version";
pub const CONTROL_OBJECTS: &str = "taut_control_objects";
pub const CONTROL_RESOURCES: &str = "taut_control_resources";
pub const CONTROL_LAGGING: &str = "taut_control_objects_lagging";
pub const CONTROL_REFUSED: &str = "taut_control_objects_refused";
pub const CONTROL_PROBLEMS: &str = "taut_control_problems";
pub const CONTROL_ROTATING: &str = "taut_control_root_rotating";
pub const CONTROL_ROTATION_WAITING: &str = "taut_control_root_rotation_waiting";
pub const CONTROL_ALARMS: &str = "taut_control_certificate_alarms";
/// What another CA was asked for, by outcome: `signed`, `refused`, `untrue` or `away`.
pub const CONTROL_UPSTREAM_REQUESTS: &str = "taut_control_upstream_ca_requests_total";
pub const CONTROL_UPSTREAM_UP: &str = "taut_control_upstream_ca_up";
/// What the authority issues, by kind: `certificate` or `jwt`.
pub const CONTROL_ISSUED: &str = "taut_control_issued_total";
pub const CONTROL_ISSUANCE_REFUSED: &str = "taut_control_issuance_refused_total";
pub const CONTROL_ISSUANCE_LIMITED: &str = "taut_control_issuance_limited_total";
pub const DASHBOARD_REQUESTS: &str = "taut_dashboard_requests_total";
pub const DASHBOARD_SIGN_INS: &str = "taut_dashboard_sign_ins_total";
pub const DASHBOARD_REFUSALS: &str = "taut_dashboard_refusals_total";
pub const DASHBOARD_SESSIONS: &str = "taut_dashboard_sessions";

/// A proxy's reports of signals.
pub const SIGNALS_WAITING: &str = "taut_signals_waiting_seconds";
pub const SIGNALS_LOST: &str = "taut_signals_lost_seconds_total";
pub const SIGNALS_CROWDED: &str = "taut_signals_crowded_total";

/// The control plane's page of the whole mesh.
pub const MESH_SINCE: &str = "taut_mesh_counting_since_timestamp_seconds";
pub const MESH_EDGES: &str = "taut_mesh_edges";

/// The control plane's store of signals.
pub const SIGNALS_MEMORY: &str = "taut_signals_memory_bytes";
pub const SIGNALS_DISK: &str = "taut_signals_disk_bytes";
pub const SIGNALS_EDGES: &str = "taut_signals_edges";
pub const SIGNALS_PROXIES: &str = "taut_signals_proxies";
pub const SIGNALS_LATEST: &str = "taut_signals_latest_timestamp_seconds";
pub const SLO_BUDGET_LEFT: &str = "taut_slo_budget_left_ratio";
pub const SLO_BURN_RATE: &str = "taut_slo_burn_rate";
pub const FORECAST_REQUESTS: &str = "taut_forecast_requests_per_second";
pub const FORECAST_HEADROOM: &str = "taut_forecast_capacity_headroom_ratio";
pub const FORECAST_USED: &str = "taut_forecast_capacity_used_ratio";
pub const CAPACITY_LIMIT: &str = "taut_capacity_limit_requests";
pub const INCIDENTS_OPEN: &str = "taut_incidents_open";
pub const INCIDENTS: &str = "taut_incidents_total";
pub const INCIDENTS_UNTOLD: &str = "taut_incidents_untold_total";
pub const INSIGHT_LATEST: &str = "taut_insight_latest_timestamp_seconds";
pub const INSIGHT_SERVICES: &str = "taut_insight_services";
pub const INSIGHT_LINKS: &str = "taut_insight_links";
pub const SIGNALS_OVERFLOW: &str = "taut_signals_overflow_total";
pub const SIGNALS_REPEATS: &str = "taut_signals_repeats_total";
pub const SIGNALS_MISDATED: &str = "taut_signals_misdated_total";
pub const SIGNALS_REFUSED: &str = "taut_signals_refused_total";
pub const SIGNALS_WRITE_ERRORS: &str = "taut_signals_write_errors_total";
pub const SIGNALS_UNWRITTEN: &str = "taut_signals_unwritten_records";
pub const SIGNALS_DROPPED: &str = "taut_signals_dropped_total";

/// The names that Prometheus client libraries give them.
pub const PROCESS_MEMORY: &str = "process_resident_memory_bytes";
pub const PROCESS_CPU: &str = "process_cpu_seconds_total";
pub const PROCESS_START: &str = "process_start_time_seconds";

/// Labels, in the order they are written.
pub mod label {
    pub const REPORTER: &str = "reporter";
    pub const SOURCE_WORKLOAD: &str = "source_workload";
    pub const SOURCE_WORKLOAD_NAMESPACE: &str = "source_workload_namespace";
    pub const SOURCE_PRINCIPAL: &str = "source_principal";
    pub const SOURCE_APP: &str = "source_app";
    pub const SOURCE_VERSION: &str = "source_version";
    pub const SOURCE_CANONICAL_SERVICE: &str = "source_canonical_service";
    pub const SOURCE_CANONICAL_REVISION: &str = "source_canonical_revision";
    pub const DESTINATION_WORKLOAD: &str = "destination_workload";
    pub const DESTINATION_WORKLOAD_NAMESPACE: &str = "destination_workload_namespace";
    pub const DESTINATION_PRINCIPAL: &str = "destination_principal";
    pub const DESTINATION_APP: &str = "destination_app";
    pub const DESTINATION_VERSION: &str = "destination_version";
    pub const DESTINATION_CANONICAL_SERVICE: &str = "destination_canonical_service";
    pub const DESTINATION_CANONICAL_REVISION: &str = "destination_canonical_revision";
    pub const DESTINATION_SERVICE: &str = "destination_service";
    pub const DESTINATION_SERVICE_NAME: &str = "destination_service_name";
    pub const DESTINATION_SERVICE_NAMESPACE: &str = "destination_service_namespace";
    pub const REQUEST_PROTOCOL: &str = "request_protocol";
    pub const RESPONSE_CODE: &str = "response_code";
    pub const GRPC_RESPONSE_STATUS: &str = "grpc_response_status";
    pub const RESPONSE_FLAGS: &str = "response_flags";
    pub const CONNECTION_SECURITY_POLICY: &str = "connection_security_policy";
    /// Upper bound of a histogram's bucket.
    pub const LE: &str = "le";
    /// The limit of a RateLimit: `namespace/name limit`.
    pub const LIMIT: &str = "limit";
    /// A policy: `AuthorizationPolicy namespace/name`.
    pub const POLICY: &str = "policy";
    pub const FAMILY: &str = "family";
    pub const VERSION: &str = "version";
    pub const SIGNAL: &str = "signal";
    pub const REASON: &str = "reason";
}

/// Attributes of spans and log records: OpenTelemetry's semantic conventions, and Tautline's own.
pub mod attribute {
    pub const SERVICE_NAME: &str = "service.name";
    pub const SERVICE_NAMESPACE: &str = "service.namespace";
    pub const SERVICE_VERSION: &str = "service.version";
    pub const SERVICE_INSTANCE: &str = "service.instance.id";
    pub const HTTP_METHOD: &str = "http.request.method";
    pub const HTTP_METHOD_ORIGINAL: &str = "http.request.method_original";
    pub const HTTP_STATUS: &str = "http.response.status_code";
    pub const HTTP_RESEND: &str = "http.request.resend_count";
    pub const HTTP_REQUEST_SIZE: &str = "http.request.body.size";
    pub const HTTP_RESPONSE_SIZE: &str = "http.response.body.size";
    pub const URL_PATH: &str = "url.path";
    pub const URL_SCHEME: &str = "url.scheme";
    pub const URL_FULL: &str = "url.full";
    pub const SERVER_ADDRESS: &str = "server.address";
    pub const SERVER_PORT: &str = "server.port";
    pub const CLIENT_ADDRESS: &str = "client.address";
    pub const PEER_ADDRESS: &str = "network.peer.address";
    pub const PEER_PORT: &str = "network.peer.port";
    pub const ERROR_TYPE: &str = "error.type";
    pub const RPC_SYSTEM: &str = "rpc.system";
    pub const RPC_SERVICE: &str = "rpc.service";
    pub const RPC_METHOD: &str = "rpc.method";
    pub const RPC_STATUS: &str = "rpc.grpc.status_code";
    /// Why an exchange failed, whose fault that is, and what decided about it.
    pub const REASON: &str = "taut.reason";
    pub const SIDE: &str = "taut.side";
    pub const ROUTE: &str = "taut.route";
    pub const RULE: &str = "taut.rule";
    pub const REQUEST_ID: &str = "taut.request_id";
    pub const MUTUAL_TLS: &str = "taut.mutual_tls";
    pub const SOURCE: &str = "taut.source.workload";
    pub const SOURCE_PRINCIPAL: &str = "taut.source.principal";
    pub const DESTINATION: &str = "taut.destination.workload";
    pub const DESTINATION_PRINCIPAL: &str = "taut.destination.principal";
    pub const DESTINATION_SERVICE: &str = "taut.destination.service";
    pub const FLAGS: &str = "taut.response_flags";
}

/// The value of a label that is not known.
pub const UNKNOWN: &str = taut_model::signal::UNKNOWN;
/// The value of every label of a family's overflow series.
pub const OTHER: &str = taut_model::signal::OTHER;
/// The service name of what is no service of the mesh and was dialled as the client named it, as in Istio.
pub const PASSTHROUGH: &str = "PassthroughCluster";
/// The revision of a workload without a version label, as in Istio.
pub const LATEST: &str = "latest";
