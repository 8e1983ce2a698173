#!/bin/sh
# Start HiveServer2's protocol, answered by Spark SQL; spark/hive-site.xml says where the metastore is.
set -eu
SPARK_CONF_DIR="${SPARK_CONF_DIR:-$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)/spark}"
export SPARK_CONF_DIR
exec "$SPARK_HOME/bin/spark-submit" --master "local[2]" --driver-memory 640m \
    --conf spark.sql.shuffle.partitions=4 \
    --conf "spark.driver.extraJavaOptions=-XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError" \
    --class org.apache.spark.sql.hive.thriftserver.HiveThriftServer2 --name thrift spark-internal
