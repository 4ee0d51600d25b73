using Ioasis.Devices;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.VfioUser.Tests;

/// <summary>A machine that serves functions in a folder of its own.</summary>
internal sealed class Served : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("ioasis");

    public Served(params ReadOnlySpan<PciDevice> devices)
        : this(false, devices)
    {
    }

    public Served(bool mapDoorbells, params ReadOnlySpan<PciDevice> devices)
    {
        Machine = new(new() { MapDoorbells = mapDoorbells, Logger = Log });
        for (int i = 0; i < devices.Length; i++)
        {
            Machine.Add(devices[i], DeviceId.FromPci(0, 0, i + 1, 0), PathOf(i));
        }

        Machine.Start();
    }

    public ServedMachine Machine { get; }

    public LineLog Log { get; } = new();

    public string PathOf(int index) => Path.Combine(_folder.FullName, $"{index}.sock");

    public TestClient Connect(int index = 0) => new(PathOf(index));

    public void Dispose()
    {
        Machine.Dispose();
        _folder.Delete(recursive: true);
    }

    /// <summary>Waits for something that another thread does.</summary>
    public static void Await(Func<bool> isSo) => SpinWait.SpinUntil(isSo, TimeSpan.FromMinutes(2)).ShouldBeTrue();
}
