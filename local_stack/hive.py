"""Hive metastore (2.3.10) and Spark Thrift Server, both from pyspark's own jars, on the stack's PostgreSQL.

The metastore's tables are made once with DataNucleus' SchemaTool: letting the server make them
(`autoCreateAll`) deadlocks on PostgreSQL at the first CREATE TABLE. Newer metastores (>= 4.0.1) lack
the call that Spark's client uses.
"""

import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import psycopg

from local_stack import health
from local_stack.commands import run
from local_stack.context import Context
from local_stack.credentials import password, write_private
from local_stack.paths import SPARK_JARS_DIR, jars, java, pyspark_home, require_java, scripts_dir
from local_stack.ports import HOST
from local_stack.service import Service

_LOG4J = """rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.target = SYSTEM_ERR
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %-5p %c{1}: %m%n%ex
logger.hive.name = org.apache.hadoop.hive.conf.HiveConf
logger.hive.level = error
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
logger.objectstore.name = org.apache.hadoop.hive.metastore.ObjectStore
logger.objectstore.level = error
"""


def xml(properties: dict[str, str]) -> str:
    """A Hadoop configuration file."""
    entries = "".join(
        f"  <property><name>{escape(name)}</name><value>{escape(value)}</value></property>\n"
        for name, value in properties.items()
    )
    return f'<?xml version="1.0"?>\n<configuration>\n{entries}</configuration>\n'


def _jdbc(context: Context) -> dict[str, str]:
    return {
        "javax.jdo.option.ConnectionURL": f"jdbc:postgresql://{context.ports.address('postgres')}/metastore",
        "javax.jdo.option.ConnectionDriverName": "org.postgresql.Driver",
        "javax.jdo.option.ConnectionUserName": "hive",
        "javax.jdo.option.ConnectionPassword": password(context.paths.secrets, "postgres_hive"),
    }


def metastore_site(context: Context) -> dict[str, str]:
    """hive-site.xml of the metastore (holds a password: mode 0600)."""
    return {
        **_jdbc(context),
        "hive.metastore.warehouse.dir": str(context.paths.data / "warehouse"),
        "hive.metastore.schema.verification": "false",
        "datanucleus.schema.autoCreateAll": "false",
        "datanucleus.connectionPoolingType": "HikariCP",
        "datanucleus.connectionPool.maxPoolSize": "4",
        "hive.metastore.server.min.threads": "4",
        "hive.metastore.server.max.threads": "40",
    }


def client_site(context: Context) -> dict[str, str]:
    """hive-site.xml of Spark: where the metastore is, and how the Thrift Server listens."""
    scratch = context.paths.tmp / "hive"
    return {
        "hive.metastore.uris": context.metastore_uri,
        "hive.metastore.warehouse.dir": str(context.paths.data / "warehouse"),
        "hive.server2.authentication": "NOSASL",
        "hive.server2.thrift.bind.host": HOST,
        "hive.server2.thrift.port": str(context.ports["thrift"]),
        "hive.server2.enable.doAs": "false",
        "hive.exec.scratchdir": str(scratch),
        "hive.exec.local.scratchdir": str(scratch / "local"),
        "hive.server2.logging.operation.log.location": str(scratch / "operations"),
    }


def spark_defaults(context: Context) -> str:
    """spark-defaults.conf of every Spark program that joins the stack: nothing outside its folder."""
    lines = {
        "spark.driver.defaultJavaOptions": f"-Djava.io.tmpdir={context.paths.tmp} -XX:-UsePerfData",
        "spark.sql.warehouse.dir": str(context.paths.data / "warehouse"),
        "spark.driver.bindAddress": HOST,
        "spark.driver.host": HOST,
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def write_spark_conf(context: Context) -> None:
    """Render SPARK_CONF_DIR."""
    folder = context.paths.conf / "spark"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hive-site.xml").write_text(xml(client_site(context)))
    (folder / "spark-defaults.conf").write_text(spark_defaults(context))
    (folder / "log4j2.properties").write_text(_LOG4J)
    (context.paths.tmp / "spark").mkdir(exist_ok=True)


def _class_path(*first: Path) -> str:
    drivers = sorted(str(jar) for jar in SPARK_JARS_DIR.glob("postgresql-*.jar"))
    return ":".join((*map(str, first), f"{pyspark_home() / 'jars'}/*", *drivers))


def _conf_dir(context: Context) -> Path:
    return context.paths.conf / "metastore"


def _prepare_metastore(context: Context) -> None:
    """Render the configuration, and make the metastore's tables if they are not all there."""
    require_java()
    jars(SPARK_JARS_DIR, "postgresql")
    folder = _conf_dir(context)
    folder.mkdir(exist_ok=True)
    write_private(folder / "hive-site.xml", xml(metastore_site(context)))
    (folder / "log4j2.properties").write_text(_LOG4J)
    made = context.paths.root / "metastore-schema.done"
    if made.exists():
        return
    with psycopg.connect(context.dsn("hive", "metastore")) as connection:  # a half-made schema starts afresh
        connection.execute("DROP SCHEMA IF EXISTS public CASCADE")
        connection.execute("CREATE SCHEMA public")
    with zipfile.ZipFile(next((pyspark_home() / "jars").glob("hive-metastore-2.3.*.jar"))) as archive:
        (folder / "package.jdo").write_bytes(archive.read("package.jdo"))
    properties = {
        "javax.jdo.PersistenceManagerFactoryClass": "org.datanucleus.api.jdo.JDOPersistenceManagerFactory",
        **_jdbc(context),
        "datanucleus.connectionPoolingType": "None",
        "datanucleus.schema.autoCreateAll": "true",
        "datanucleus.identifierFactory": "datanucleus1",
        "datanucleus.transactionIsolation": "read-committed",
        "datanucleus.rdbms.useLegacyNativeValueStrategy": "true",
    }
    text = "".join(f"{name}={value}\n" for name, value in properties.items())
    write_private(folder / "dn.properties", text)
    run(
        (java(), *context.jvm_flags(192), f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
         "-cp", _class_path(), "org.datanucleus.store.schema.SchemaTool", "-create", "-api", "JDO",
         "-props", str(folder / "dn.properties"), str(folder / "package.jdo")),
        what="making the Hive metastore's tables", log=context.paths.logs / "metastore-schema.log",
        env=context.process_env(), cwd=context.paths.root, timeout_s=180,
    )  # fmt: skip
    made.write_text("44 tables by DataNucleus SchemaTool\n")


def metastore(context: Context) -> Service:
    """The metastore; up in 3 s (8 s the first time), 240 MiB."""
    folder = _conf_dir(context)
    log4j = folder / "log4j2.properties"
    return Service(
        name="metastore",
        component="metastore",
        argv=(
            java(), *context.jvm_flags(256), f"-Dlog4j.configurationFile={log4j}",
            f"-Dlog4j2.configurationFile={log4j}", "-cp", _class_path(folder),
            "org.apache.hadoop.hive.metastore.HiveMetaStore", "-p", str(context.ports["metastore"]),
        ),
        env=context.process_env(),
        health=health.metastore(context.ports["metastore"]),
        health_text="get_all_databases",
        ready_within_s=90,
        memory_limit_mib=448,
        stop_order=70,
        needs=("postgres",),
        prepare=lambda: _prepare_metastore(context),
        cwd=context.paths.root,
    )  # fmt: skip


def thrift_server(context: Context) -> Service:
    """HiveServer2's protocol, answered by Spark SQL; up in 15 s, 400-600 MiB."""
    return Service(
        name="thrift",
        component="thrift",
        argv=(
            str(scripts_dir() / "spark-submit"), "--master", "local[2]", "--driver-memory", "640m",
            "--conf", "spark.sql.shuffle.partitions=4",
            "--conf", "spark.driver.extraJavaOptions=-XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError",
            "--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2", "--name", "thrift",
            "spark-internal",
        ),
        env=context.process_env(),
        health=health.hiveserver2(context.ports["thrift"]),
        health_text="SHOW DATABASES",
        ready_within_s=150,
        memory_limit_mib=1024,
        stop_order=60,
        needs=("metastore",),
        prepare=require_java,
        cwd=context.paths.root,
    )  # fmt: skip
