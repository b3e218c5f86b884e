/**
 * What must stand in a pipeline file before it may speak of people: `record.partitioner` and `privacy.recordsPerSubject`.
 *
 * A bound on the records of a subject holds when one lane sees all of them under one name. The lane is the business of
 * `record.partitioner: subject`; the name is kept or pseudonymized (cross-checks.ts), so one subject has one name as long
 * as rule and key stay what they are, which `encrypt` holds against every record.
 */
import type { PipelineFile } from "../../schemas/pipeline-file.ts";
import type { Complaint } from "./complaint.ts";
import type { LocatedTree } from "./located-tree.ts";

export function checkSubjects(file: PipelineFile, tree: LocatedTree): Complaint[] {
  const { partitioner, subject } = file.record;
  const { recordsPerSubject } = file.privacy;
  const complaints: Complaint[] = [];
  if (partitioner === "subject" && subject === undefined) {
    const message = "needs record.subject: the field that names the person";
    complaints.push(tree.complain(["record", "partitioner"], message));
  }
  if (recordsPerSubject !== null && subject === undefined) {
    const message =
      "needs record.subject: without it every record is its own subject, and the bound is per record";
    complaints.push(tree.complain(["privacy", "recordsPerSubject"], message));
  }
  if (recordsPerSubject !== null && partitioner !== "subject") {
    const message =
      "needs record.partitioner: subject: else the records of one person lie in several lanes, and each would count its own";
    complaints.push(tree.complain(["privacy", "recordsPerSubject"], message));
  }
  return complaints;
}
