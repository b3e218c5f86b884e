/** Creates ACLs through kafkajs, whichever client the pipeline uses: librdkafka's JavaScript face cannot. */
import kafkajs, { type AclEntry } from "kafkajs";
import { SealstreamError } from "../errors.ts";
import type { Acl } from "./acls.ts";
import { connectKafkajs } from "./kafkajs-connection.ts";
import { quietly } from "./kafkajs-producer.ts";
import type { ClientOptions } from "./open-client.ts";
import { accessDenied } from "./security.ts";

const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, ResourcePatternTypes } = kafkajs;

const OPERATIONS = {
  Read: AclOperationTypes.READ,
  Write: AclOperationTypes.WRITE,
  Describe: AclOperationTypes.DESCRIBE,
  Create: AclOperationTypes.CREATE,
} as const;
const RESOURCES = {
  topic: AclResourceTypes.TOPIC,
  group: AclResourceTypes.GROUP,
  "transactional-id": AclResourceTypes.TRANSACTIONAL_ID,
} as const;

function toEntry({ principal, operation, resource, name, pattern }: Acl): AclEntry {
  return {
    principal,
    host: "*",
    operation: OPERATIONS[operation],
    permissionType: AclPermissionTypes.ALLOW,
    resourceType: RESOURCES[resource],
    resourceName: name,
    resourcePatternType:
      pattern === "prefixed" ? ResourcePatternTypes.PREFIXED : ResourcePatternTypes.LITERAL,
  };
}

/** Creates ACLs; those that exist stay. @throws SealstreamError `access-denied` without Alter on the cluster */
export async function createAcls(options: ClientOptions, acls: readonly Acl[]): Promise<void> {
  const { kafka } = await connectKafkajs(options);
  const admin = kafka.admin();
  try {
    await admin.connect();
    await admin.createAcls({ acl: acls.map(toEntry) });
  } catch (error) {
    throw (
      accessDenied(error, "creating ACLs (Alter on the cluster)") ??
      new SealstreamError(
        "kafka-failed",
        "Kafka would not create the ACLs: has it an authorizer?",
        {
          cause: error,
        },
      )
    );
  } finally {
    await quietly(admin.disconnect());
  }
}
