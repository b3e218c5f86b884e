/**
 * `server.properties` of an embedded Kafka node, alone or one of three, with or without security.
 *
 * Pure text. Loopback only; sizes and timeouts are for development and tests: a dead broker is noticed within seconds.
 */
import { join } from "node:path";

export const HOST = "127.0.0.1";

export interface NodePorts {
  /** Where clients connect. */
  readonly client: number;
  readonly controller: number;
  /** Between brokers, when clients must authenticate; else the clients' port serves brokers too. */
  readonly internal: number;
}

export interface NodeAddress {
  readonly id: number;
  readonly ports: NodePorts;
}

/** What clients must show. Between brokers and controllers it is always TLS with certificates both ways. */
export interface ClusterSecurity {
  /** PEM file: the nodes' PKCS#8 key and certificate for 127.0.0.1, usable by client and server. */
  readonly keyStoreFile: string;
  /** PEM file of the authority that signed it, and that signs clients' certificates. */
  readonly trustStoreFile: string;
  /** Principal of the nodes' certificate, such as `User:CN=broker`. */
  readonly nodePrincipal: string;
  /** `ssl`: clients show a certificate; `sasl-ssl`: they use one of `mechanisms`. */
  readonly clients: "ssl" | "sasl-ssl";
  readonly mechanisms: readonly ("SCRAM-SHA-256" | "SCRAM-SHA-512" | "OAUTHBEARER")[];
  /** Users written into the cluster when it is formatted, for every SCRAM mechanism above. */
  readonly users: readonly { readonly name: string; readonly password: string }[];
  /** Principals that may do everything, such as `User:operator`. Everybody else needs ACLs. */
  readonly superUsers: readonly string[];
}

/** A broker that is gone loses its leaderships after this long. The default is 9 s. */
const BROKER_SESSION_TIMEOUT_MS = 4_000;
const BROKER_HEARTBEAT_MS = 500;
/** A follower that lags this long leaves the in-sync set, and lets `acks=all` go on. The default is 30 s. */
const REPLICA_LAG_MS = 5_000;
/** How long a token's connection may live before it must authenticate again. */
const REAUTHENTICATE_MS = 3_600_000;

function listenerLines({ ports }: NodeAddress, security: ClusterSecurity | null): string[] {
  const client = `CLIENT://${HOST}:${ports.client}`;
  const controller = `CONTROLLER://${HOST}:${ports.controller}`;
  if (security === null) {
    return [
      `listeners=${client},${controller}`,
      `advertised.listeners=${client}`,
      "inter.broker.listener.name=CLIENT",
      "listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    ];
  }
  const internal = `INTERNAL://${HOST}:${ports.internal}`;
  const protocol = security.clients === "ssl" ? "SSL" : "SASL_SSL";
  return [
    `listeners=${client},${internal},${controller}`,
    `advertised.listeners=${client},${internal}`,
    "inter.broker.listener.name=INTERNAL",
    `listener.security.protocol.map=CLIENT:${protocol},INTERNAL:SSL,CONTROLLER:SSL`,
  ];
}

function securityLines(security: ClusterSecurity | null): string[] {
  if (security === null) {
    return [];
  }
  const { mechanisms } = security;
  const prefix = "listener.name.client.";
  return [
    "ssl.keystore.type=PEM",
    `ssl.keystore.location=${security.keyStoreFile}`,
    "ssl.truststore.type=PEM",
    `ssl.truststore.location=${security.trustStoreFile}`,
    "ssl.client.auth=required",
    `${prefix}ssl.client.auth=${security.clients === "ssl" ? "required" : "none"}`,
    "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found=false",
    `super.users=${[security.nodePrincipal, ...security.superUsers].join(";")}`,
    ...(security.clients === "sasl-ssl"
      ? [
          `${prefix}sasl.enabled.mechanisms=${mechanisms.join(",")}`,
          `${prefix}connections.max.reauth.ms=${REAUTHENTICATE_MS}`,
        ]
      : []),
    ...mechanisms.map((mechanism) =>
      mechanism === "OAUTHBEARER"
        ? // Kafka's own validator for development: it accepts unsigned tokens.
          `${prefix}oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`
        : `${prefix}${mechanism.toLowerCase()}.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;`,
    ),
  ];
}

/**
 * One node's properties.
 * @param nodes all nodes of the cluster; one alone may change its controller's port between starts, three know each
 *   other by what this file says
 */
export function serverProperties(options: {
  readonly node: NodeAddress;
  readonly nodes: readonly NodeAddress[];
  readonly dataDir: string;
  readonly security: ClusterSecurity | null;
}): string {
  const { node, nodes, security } = options;
  const replicas = nodes.length;
  const inSync = Math.min(2, replicas);
  const voters = nodes.map(({ id, ports }) => `${id}@${HOST}:${ports.controller}`).join(",");
  return [
    "process.roles=broker,controller",
    `node.id=${node.id}`,
    ...listenerLines(node, security),
    "controller.listener.names=CONTROLLER",
    replicas === 1
      ? `controller.quorum.bootstrap.servers=${HOST}:${node.ports.controller}`
      : `controller.quorum.voters=${voters}`,
    `log.dirs=${join(options.dataDir, "log")}`,
    "auto.create.topics.enable=false",
    `default.replication.factor=${replicas}`,
    // No `min.insync.replicas` for all: topics ask for it themselves, and tests are to see whether they do.
    `offsets.topic.replication.factor=${replicas}`,
    "offsets.topic.num.partitions=8",
    `transaction.state.log.replication.factor=${replicas}`,
    `transaction.state.log.min.isr=${inSync}`,
    "transaction.state.log.num.partitions=8",
    `share.coordinator.state.topic.replication.factor=${replicas}`,
    `share.coordinator.state.topic.min.isr=${inSync}`,
    "share.coordinator.state.topic.num.partitions=1",
    "group.initial.rebalance.delay.ms=0",
    "group.min.session.timeout.ms=1000",
    `broker.session.timeout.ms=${BROKER_SESSION_TIMEOUT_MS}`,
    `broker.heartbeat.interval.ms=${BROKER_HEARTBEAT_MS}`,
    `replica.lag.time.max.ms=${REPLICA_LAG_MS}`,
    "log.cleaner.dedupe.buffer.size=16777216",
    ...securityLines(security),
    "",
  ].join("\n");
}
