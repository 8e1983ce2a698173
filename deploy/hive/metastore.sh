#!/bin/sh
# Start the Hive metastore on PostgreSQL, its tables made first where they are missing: letting the server make
# them (autoCreateAll) deadlocks on PostgreSQL at the first CREATE TABLE.
#
# Environment: METASTORE_DB_HOST, _PORT, _NAME, _USER, _PASSWORD; SPARK_HOME; WEBTOON_JARS_DIR (PostgreSQL driver);
# METASTORE_PORT (9083), METASTORE_HEAP (256m), METASTORE_WAREHOUSE (/var/lib/webtoon/warehouse).
set -eu
: "${METASTORE_DB_HOST:?}" "${METASTORE_DB_NAME:?}" "${METASTORE_DB_USER:?}" "${METASTORE_DB_PASSWORD:?}"
: "${SPARK_HOME:?}" "${WEBTOON_JARS_DIR:?}"
export METASTORE_DB_PORT="${METASTORE_DB_PORT:-5432}"
export METASTORE_WAREHOUSE="${METASTORE_WAREHOUSE:-/var/lib/webtoon/warehouse}"

here="$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)"
driver="$(find "$WEBTOON_JARS_DIR" -name 'postgresql-*.jar' | head -n 1)"
[ -n "$driver" ] || { echo "no postgresql-*.jar in $WEBTOON_JARS_DIR" >&2; exit 1; }
class_path="$here/metastore:$SPARK_HOME/jars/*:$driver"
logging="-Dlog4j.configurationFile=$here/metastore/log4j2.properties"
logging="$logging -Dlog4j2.configurationFile=$here/metastore/log4j2.properties"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
python3 -c 'import glob, sys, zipfile
jar = glob.glob(sys.argv[1] + "/jars/hive-metastore-2.3.*.jar")[0]
open(sys.argv[2] + "/package.jdo", "wb").write(zipfile.ZipFile(jar).read("package.jdo"))' "$SPARK_HOME" "$scratch"
umask 077
cat > "$scratch/schema.properties" <<EOF
javax.jdo.PersistenceManagerFactoryClass=org.datanucleus.api.jdo.JDOPersistenceManagerFactory
javax.jdo.option.ConnectionURL=jdbc:postgresql://$METASTORE_DB_HOST:$METASTORE_DB_PORT/$METASTORE_DB_NAME
javax.jdo.option.ConnectionDriverName=org.postgresql.Driver
javax.jdo.option.ConnectionUserName=$METASTORE_DB_USER
javax.jdo.option.ConnectionPassword=$METASTORE_DB_PASSWORD
datanucleus.connectionPoolingType=None
datanucleus.schema.autoCreateAll=true
datanucleus.identifierFactory=datanucleus1
datanucleus.transactionIsolation=read-committed
datanucleus.rdbms.useLegacyNativeValueStrategy=true
EOF
umask 022
# shellcheck disable=SC2086  # two flags
java -Xmx192m $logging -cp "$class_path" org.datanucleus.store.schema.SchemaTool -create -api JDO \
    -props "$scratch/schema.properties" "$scratch/package.jdo"
rm -rf "$scratch"
trap - EXIT

# shellcheck disable=SC2086
exec java "-Xmx${METASTORE_HEAP:-256m}" -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError $logging -cp "$class_path" \
    org.apache.hadoop.hive.metastore.HiveMetaStore -p "${METASTORE_PORT:-9083}"
