import java.io.IOException;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The peer that people write by hand: Java's consume-transform-produce loop with transactions, settings as they come.
 *
 * Arguments: brokers, group, input topic, output topic, milliseconds between commits. Ends with its standard input.
 */
public final class LoopPeer {
  private LoopPeer() {}

  public static void main(String[] args) {
    Thread watch = new Thread(LoopPeer::endWithInput);
    watch.setDaemon(true);
    watch.start();
    run(args[0], args[1], args[2], args[3], Long.parseLong(args[4]) * 1_000_000);
  }

  private static void endWithInput() {
    try {
      while (System.in.read() >= 0) {
        // Nobody writes to it: it only ends.
      }
    } catch (IOException e) {
      // As good as its end.
    }
    Runtime.getRuntime().halt(0);
  }

  private static void run(
      String brokers, String group, String input, String output, long intervalNanos) {
    Properties reading = new Properties();
    reading.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
    reading.put(ConsumerConfig.GROUP_ID_CONFIG, group);
    reading.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
    reading.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
    reading.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
    reading.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
    reading.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
    Properties writing = new Properties();
    writing.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
    writing.put(ProducerConfig.TRANSACTIONAL_ID_CONFIG, group);
    writing.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
    writing.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
    KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(reading);
    KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(writing);
    producer.initTransactions();
    consumer.subscribe(List.of(input));
    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
    long begun = 0;
    while (true) {
      ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
      if (!records.isEmpty() && offsets.isEmpty()) {
        producer.beginTransaction();
        begun = System.nanoTime();
      }
      for (ConsumerRecord<byte[], byte[]> record : records) {
        producer.send(
            new ProducerRecord<>(output, null, record.key(), record.value(), record.headers()));
      }
      for (TopicPartition partition : records.partitions()) {
        List<ConsumerRecord<byte[], byte[]>> some = records.records(partition);
        long next = some.get(some.size() - 1).offset() + 1;
        offsets.put(partition, new OffsetAndMetadata(next));
      }
      if (!offsets.isEmpty() && System.nanoTime() - begun >= intervalNanos) {
        producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
        producer.commitTransaction();
        offsets.clear();
      }
    }
  }
}
