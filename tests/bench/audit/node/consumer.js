// Copyright: Contributors to evenkeel.fleet
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// The audit worker with sqs-consumer: batches of ten, one INSERT for each, deleted by the library.
import { SQSClient } from "@aws-sdk/client-sqs";
import pg from "pg";
import { Consumer } from "sqs-consumer";

const pollers = Number(process.env.POLLERS);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: pollers });
const INSERT = `
  INSERT INTO audit_event (event_id, type, occurred_at, actor, resource, body)
  SELECT event_id, type, occurred_at, actor, resource, body::jsonb
    FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])
      AS event (event_id, type, occurred_at, actor, resource, body)
   ORDER BY event_id
  ON CONFLICT (event_id) DO NOTHING`;

function read(message) {
  const outer = JSON.parse(message.Body);
  return outer.Type === "Notification" ? [JSON.parse(outer.Message), outer.Message] : [outer, message.Body];
}

async function store(messages) {
  const events = messages.map(read);
  const column = (name) => events.map(([event]) => event[name] ?? null);
  await pool.query(INSERT, [
    ...["event_id", "type", "occurred_at", "actor", "resource"].map(column),
    events.map(([, body]) => body),
  ]);
  return messages;
}

const consumers = Array.from({ length: pollers }, () =>
  Consumer.create({
    queueUrl: process.env.QUEUE_URL,
    sqs: new SQSClient({ region: "eu-central-1", endpoint: process.env.ENDPOINT_URL }),
    batchSize: 10,
    waitTimeSeconds: 20,
    visibilityTimeout: 60,
    heartbeatInterval: 30,
    messageSystemAttributeNames: ["SentTimestamp", "ApproximateReceiveCount"],
    handleMessageBatch: store,
  }),
);
for (const consumer of consumers) {
  consumer.on("error", (error) => console.error(error));
  consumer.on("processing_error", (error) => console.error(error));
  consumer.start();
}
process.on("SIGTERM", () => process.exit(0));
