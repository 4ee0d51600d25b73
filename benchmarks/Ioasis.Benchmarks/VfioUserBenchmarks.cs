using BenchmarkDotNet.Attributes;
using Ioasis.Devices;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Ioasis.VfioUser;

namespace Ioasis.Benchmarks;

/// <summary>A register of a function behind a socket: a message there and one back, between two threads of this process.</summary>
[MemoryDiagnoser]
public class VfioUserBenchmarks
{
    private readonly byte[] _word = new byte[4];
    private readonly string _folder = Directory.CreateTempSubdirectory("ioasis").FullName;
    private ServedMachine _machine = null!;
    private RemoteDevice _device = null!;

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
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _device.Dispose();
        _machine.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Benchmark]
    public Errno Read_a_register() => _device.Backend.Read((int)VfioPciRegion.Bar0, 0, _word, out _);

    [Benchmark]
    public Errno Write_a_register() => _device.Backend.Write((int)VfioPciRegion.Bar0, 4, _word, out _);
}
