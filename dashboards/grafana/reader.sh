#!/bin/sh
# Run once, when the database is made: the login of Grafana, which may read what dashboards may and nothing else.
set -eu
psql --set=ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv password GRAFANA_PASSWORD
CREATE ROLE fraudstream_dashboards NOLOGIN;
CREATE ROLE grafana LOGIN PASSWORD :'password' IN ROLE fraudstream_dashboards;
SQL
