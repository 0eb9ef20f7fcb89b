// A plugin with nothing but grpc-netty. Its argument says by which of netty's transports it serves and calls: nio or epoll.
// GET /netty is answered by its route with what its cache keeps; each request gets the header x-netty.

import com.google.protobuf.ByteString;
import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ServerCalls;
import io.netty.channel.Channel;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.ServerChannel;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollIoHandler;
import io.netty.channel.epoll.EpollServerDomainSocketChannel;
import io.netty.channel.nio.NioIoHandler;
import io.netty.channel.socket.nio.NioDomainSocketChannel;
import io.netty.channel.socket.nio.NioServerDomainSocketChannel;
import io.netty.channel.unix.DomainSocketAddress;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import rockstar.plugin.v1.PluginOuterClass.Call;
import rockstar.plugin.v1.PluginOuterClass.Config;
import rockstar.plugin.v1.PluginOuterClass.DescribeRequest;
import rockstar.plugin.v1.PluginOuterClass.Description;
import rockstar.plugin.v1.PluginOuterClass.KeyValueReply;
import rockstar.plugin.v1.PluginOuterClass.KeyValueRequest;
import rockstar.plugin.v1.PluginOuterClass.Registration;
import rockstar.plugin.v1.PluginOuterClass.Reply;
import rockstar.plugin.v1.PluginOuterClass.Result;
import rockstar.types.v1.Types.Body;
import rockstar.types.v1.Types.Change;
import rockstar.types.v1.Types.Empty;
import rockstar.types.v1.Types.Failure;
import rockstar.types.v1.Types.Header;
import rockstar.types.v1.Types.Response;
import rockstar.types.v1.Types.Value;

public final class NettyPlugin {
  private static final List<String> METHODS = List.of("Name", "Version", "Description", "Author", "Dependencies",
      "Initialize", "Start", "Stop", "Cleanup", "ConfigSchema", "OnConfigChange");
  private static final long HOST_TIMEOUT_SECONDS = 3;

  private final ManagedChannel host;

  private NettyPlugin(ManagedChannel host) {
    this.host = host;
  }

  public static void main(String[] arguments) throws Exception {
    boolean epoll = arguments[0].equals("epoll");
    EventLoopGroup group = new MultiThreadIoEventLoopGroup(2, epoll ? EpollIoHandler.newFactory() : NioIoHandler.newFactory());
    Class<? extends Channel> client = epoll ? EpollDomainSocketChannel.class : NioDomainSocketChannel.class;
    Class<? extends ServerChannel> server = epoll ? EpollServerDomainSocketChannel.class : NioServerDomainSocketChannel.class;
    NettyPlugin plugin = new NettyPlugin(NettyChannelBuilder.forAddress(address(epoll, "ROCKSTAR_HOST_SOCKET"))
        .eventLoopGroup(group).channelType(client).usePlaintext().overrideAuthority("localhost").directExecutor().build());
    Server served = NettyServerBuilder.forAddress(address(epoll, "ROCKSTAR_PLUGIN_SOCKET"))
        .bossEventLoopGroup(group).workerEventLoopGroup(group).channelType(server).addService(plugin.service()).build();
    served.start();
    served.awaitTermination();
  }

  private static SocketAddress address(boolean epoll, String variable) {
    String path = System.getenv(variable);
    return epoll ? new DomainSocketAddress(path) : UnixDomainSocketAddress.of(path);
  }

  private ServerServiceDefinition service() {
    return ServerServiceDefinition.builder("rockstar.plugin.v1.Plugin")
        .addMethod(method("Plugin/Describe", DescribeRequest.getDefaultInstance(), Description.getDefaultInstance()), handler(this::describe))
        .addMethod(method("Plugin/Initialize", Config.getDefaultInstance(), Result.getDefaultInstance()), handler(this::initialize))
        .addMethod(method("Plugin/Start", Empty.getDefaultInstance(), Result.getDefaultInstance()), handler(this::nothing))
        .addMethod(method("Plugin/Stop", Empty.getDefaultInstance(), Result.getDefaultInstance()), handler(this::nothing))
        .addMethod(method("Plugin/Cleanup", Empty.getDefaultInstance(), Result.getDefaultInstance()), handler(this::nothing))
        .addMethod(method("Plugin/OnConfigChange", Config.getDefaultInstance(), Result.getDefaultInstance()), handler(this::nothing))
        .addMethod(method("Plugin/Ping", Empty.getDefaultInstance(), Empty.getDefaultInstance()), handler(empty -> empty))
        .addMethod(method("Plugin/Handle", Call.getDefaultInstance(), Reply.getDefaultInstance()), handler(this::handle))
        .build();
  }

  private Description describe(DescribeRequest request) {
    return Description.newBuilder().setProtocol(1).setName(System.getenv("ROCKSTAR_PLUGIN_NAME")).setVersion("1.0.0")
        .setDescription("A plugin with grpc-netty").setAuthor("Rockstar").addAllMethods(METHODS).build();
  }

  private Result initialize(Config config) {
    try {
      Registration hook = Registration.newBuilder().setKind(Registration.Kind.KIND_HOOK).setName("pre_request").setHandler("hook").build();
      Registration route = Registration.newBuilder().setKind(Registration.Kind.KIND_ROUTE).setHandler("route").setMethod("GET").addRoutes("/netty").build();
      for (Registration registration : List.of(hook, route)) {
        Result result = call("Register", registration, Result.getDefaultInstance());
        if (result.hasFailure()) {
          return result;
        }
      }
      cache(KeyValueRequest.newBuilder().setOperation(KeyValueRequest.Operation.OPERATION_SET)
          .setValue(Value.newBuilder().setText("kept").build().toByteString()));
      return Result.getDefaultInstance();
    } catch (RuntimeException error) {
      return Result.newBuilder().setFailure(Failure.newBuilder().setText("the host does not answer: " + error.getMessage())).build();
    }
  }

  private <T> Result nothing(T request) {
    return Result.getDefaultInstance();
  }

  private Reply handle(Call call) {
    Reply.Builder reply = Reply.newBuilder().setId(call.getId());
    if (call.getHandler().equals("hook")) {
      Header header = Header.newBuilder().setName("x-netty").setValue(ByteString.copyFromUtf8("seen")).build();
      return reply.setChange(Change.newBuilder().addSet(header)).build();
    }
    try {
      KeyValueReply kept = cache(KeyValueRequest.newBuilder().setOperation(KeyValueRequest.Operation.OPERATION_GET));
      ByteString text = Value.parseFrom(kept.getValue()).getTextBytes();
      return reply.setAnswer(Response.newBuilder().setStatus(200).setBody(Body.newBuilder().setWhole(text))).build();
    } catch (Exception error) {
      return reply.setFailure(Failure.newBuilder().setText(error.toString())).build();
    }
  }

  private KeyValueReply cache(KeyValueRequest.Builder request) {
    return call("Cache", request.setKey("key").build(), KeyValueReply.getDefaultInstance());
  }

  /** Calls the host, for which a call always has a deadline. */
  private <Q extends Message, A extends Message> A call(String name, Q request, A answer) {
    @SuppressWarnings("unchecked")
    Q type = (Q) request.getDefaultInstanceForType();
    CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(HOST_TIMEOUT_SECONDS, TimeUnit.SECONDS).withWaitForReady();
    return ClientCalls.blockingUnaryCall(host, method("PluginContext/" + name, type, answer), options, request);
  }

  private static <Q extends Message, A extends Message> MethodDescriptor<Q, A> method(String name, Q request, A answer) {
    return MethodDescriptor.<Q, A>newBuilder().setType(MethodType.UNARY).setFullMethodName("rockstar.plugin.v1." + name)
        .setRequestMarshaller(ProtoUtils.marshaller(request)).setResponseMarshaller(ProtoUtils.marshaller(answer)).build();
  }

  private static <Q, A> io.grpc.ServerCallHandler<Q, A> handler(Function<Q, A> answer) {
    return ServerCalls.asyncUnaryCall((request, observer) -> {
      observer.onNext(answer.apply(request));
      observer.onCompleted();
    });
  }
}
