using System.Net.Sockets;
using BenchmarkDotNet.Attributes;
using Ioasis.Devices;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Ioasis.VfioUser;

namespace Ioasis.Benchmarks;

/// <summary>
/// A register of a function behind a socket: a message there and one back, between two threads of this process. Beside it, messages of the same
/// length that nobody looks at.
/// </summary>
[MemoryDiagnoser]
public class VfioUserBenchmarks
{
    // REGION_READ: the header, then offset, region and count; the reply has the register behind them.
    private const int Header = 16;
    private const int Access = 16;

    private readonly byte[] _word = new byte[4];
    private readonly byte[] _request = new byte[Header + Access];
    private readonly byte[] _reply = new byte[Header + Access + 4];
    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis").FullName;
    private ServedMachine _machine = null!;
    private RemoteDevice _device = null!;
    private NetworkStream _near = null!;
    private NetworkStream _far = null!;
    private Thread _echo = null!;

    [GlobalSetup]
    public void Setup()
    {
        string path = Path.Combine(_folder, "edu.sock");
        _machine = new();
        _machine.Add(new EduDevice(), DeviceId.FromPci(0, 0, 1, 0), path);
        _machine.Start();
        _device = RemoteDevice.Connect(path);
        _device.Backend.Open();
        _device.Backend.Write((int)VfioPciRegion.Config, 4, [6, 0], out _);
        string echo = Path.Combine(_folder, "echo.sock");
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(echo));
        listener.Listen(1);
        Socket near = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        near.Connect(new UnixDomainSocketEndPoint(echo));
        _near = new(near, ownsSocket: true);
        _far = new(listener.Accept(), ownsSocket: true);
        _echo = new(Echo);
        _echo.Start();
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _device.Dispose();
        _machine.Dispose();
        _near.Dispose();
        _echo.Join();
        _far.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Benchmark(Baseline = true)]
    public void Messages_alone()
    {
        _near.Write(_request);
        _near.ReadExactly(_reply);
    }

    [Benchmark]
    public Errno Read_a_register() => _device.Backend.Read((int)VfioPciRegion.Bar0, 0, _word, out _);

    [Benchmark]
    public Errno Write_a_register() => _device.Backend.Write((int)VfioPciRegion.Bar0, 4, _word, out _);

    private void Echo()
    {
        byte[] request = new byte[Header + Access];
        byte[] reply = new byte[Header + Access + 4];
        while (_far.ReadAtLeast(request, request.Length, throwOnEndOfStream: false) == request.Length)
        {
            _far.Write(reply);
        }
    }
}
