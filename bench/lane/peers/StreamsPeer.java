import java.io.IOException;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;

/**
 * The peer Kafka Streams: an identity topology, exactly_once_v2, everything else as it comes.
 *
 * Arguments: brokers, application id, input topic, output topic, state folder, then settings as name=value.
 * Ends when its standard input does.
 */
public final class StreamsPeer {
  private StreamsPeer() {}

  public static void main(String[] args) throws IOException {
    Properties settings = new Properties();
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, args[1]);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArray().getClass());
    settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArray().getClass());
    for (int i = 5; i < args.length; i++) {
      String[] setting = args[i].split("=", 2);
      settings.put(setting[0], setting[1]);
    }
    StreamsBuilder builder = new StreamsBuilder();
    builder.stream(args[2]).to(args[3]);
    KafkaStreams streams = new KafkaStreams(builder.build(), settings);
    streams.start();
    while (System.in.read() >= 0) {
      // Nobody writes to it: it only ends.
    }
    streams.close(Duration.ofSeconds(5));
    System.exit(0);
  }
}
