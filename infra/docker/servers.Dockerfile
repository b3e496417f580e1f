# The servers of docker-compose.yml with our configuration, which infra/local reads too. Copied, not
# mounted: a server that is not root could not read a file of a checkout under umask 077.

FROM nats:2.14.6-alpine AS nats
COPY --chmod=644 infra/nats/nats-server.conf /etc/nats/

FROM clickhouse/clickhouse-server:26.3.33.24 AS clickhouse
COPY --chmod=644 infra/clickhouse/config.d/risksignal.xml /etc/clickhouse-server/config.d/
COPY --chmod=644 infra/clickhouse/users.d/risksignal.xml /etc/clickhouse-server/users.d/
COPY --chmod=644 infra/clickhouse/container.d/logger.xml /etc/clickhouse-server/config.d/

FROM prom/prometheus:v3.15.0 AS prometheus
COPY --chmod=644 infra/prometheus/prometheus.yml infra/prometheus/rules.yml /etc/prometheus/

FROM grafana/grafana:13.2.3 AS grafana
COPY --chmod=644 infra/grafana/datasource.yml /etc/grafana/provisioning/datasources/risksignal.yml
COPY --chmod=644 infra/grafana/provider.yml /etc/grafana/provisioning/dashboards/risksignal.yml
COPY --chmod=644 infra/grafana/dashboards/*.json /etc/grafana/dashboards/
