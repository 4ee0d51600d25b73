using System.Buffers.Binary;
using System.Numerics;
using Ioasis.Devices;
using Ioasis.Uapi;

namespace Ioasis.VfioUser;

/// <summary>
/// A PCI function in another process, over vfio-user, in a machine of this one: it stands behind the machine's IOMMU, which translates each access that the
/// function asks for, and refuses what nobody has mapped. Its regions are not mapped, and it has neither ATS nor PASIDs here.
/// </summary>
public sealed class RemoteDevice : PciDevice
{
    private readonly RemoteConnection _connection;
    private readonly RemoteBackend _backend;

    private RemoteDevice(PciDeviceDescription description, RemoteConnection connection, RemoteBackend backend)
        : base(description, _ => backend)
    {
        _connection = connection;
        _backend = backend;
        connection.Use(() => backend.IsBusMaster ? Connection : null);
    }

    /// <summary>How a text asks for it.</summary>
    internal static DeviceKind Kind { get; } = new(
        "vfio-user",
        "a function of another process, over vfio-user",
        [new("socket", "the path of the server's socket")],
        static settings => Connect(settings.Text("socket") ?? throw DeviceSettings.Bad("socket", string.Empty, "the path of the server's socket is expected")));

    /// <summary>Connects to the server of a function.</summary>
    /// <param name="path">Its socket.</param>
    /// <exception cref="IOException">Nobody is there, or it is no PCI function.</exception>
    /// <exception cref="ArgumentException">What it says of itself does not fit together.</exception>
    public static RemoteDevice Connect(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        RemoteConnection connection = RemoteConnection.Open(path);
        RemoteBackend? backend = null;
        try
        {
            backend = new(connection, path);
            return new(Describe(backend, path), connection, backend);
        }
        catch
        {
            backend?.Dispose();
            connection.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override void Assign(ReadOnlySpan<ulong> bases)
    {
        base.Assign(bases);
        uint[] words = new uint[6];
        for (int i = 0; i < Description.Bars.Count; i++)
        {
            PciBar bar = Description.Bars[i];
            words[bar.Register] = (uint)bases[i];
            if (bar.Is64Bit)
            {
                words[bar.Register + 1] = (uint)(bases[i] >> 32);
            }
        }

        _backend.Assign(words);
    }

    /// <inheritdoc/>
    protected override ulong ReadRegister(int bar, ulong offset, int size) => throw new NotSupportedException("Its registers are another process's.");

    /// <inheritdoc/>
    protected override void WriteRegister(int bar, ulong offset, int size, ulong value) =>
        throw new NotSupportedException("Its registers are another process's.");

    /// <inheritdoc/>
    protected override void OnReset()
    {
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _connection.Dispose();
            _backend.Dispose();
        }

        base.Dispose(disposing);
    }

    // What its configuration space and its regions say.
    private static PciDeviceDescription Describe(RemoteBackend backend, string path)
    {
        byte[] config = new byte[64];
        if (backend.Read((int)VfioPciRegion.Config, 0, config, out int count) != Primitives.Errno.Success || count != config.Length)
        {
            throw new IOException($"{path}: the server does not let the configuration space be read");
        }

        List<PciBar> bars = [];
        for (int i = 0; i <= (int)VfioPciRegion.Bar5; i++)
        {
            _ = backend.GetRegion(i, out DeviceRegion region);
            if (region.Size == 0)
            {
                continue;
            }

            uint word = BinaryPrimitives.ReadUInt32LittleEndian(config.AsSpan(RemoteBackend.FirstBar + (4 * i)));
            bool isIo = (word & 1) != 0;

            // A server may have a region of any size; addresses are given in powers of two, from the least that there are.
            ulong size = BitOperations.RoundUpToPowerOf2(Math.Max(region.Size, isIo ? 4u : 16u));
            bars.Add(new(i, size) { IsIo = isIo, Is64Bit = !isIo && (word & 6) == 4, IsPrefetchable = !isIo && (word & 8) != 0 });
        }

        _ = backend.GetRegion((int)VfioPciRegion.Config, out DeviceRegion space);
        return new()
        {
            VendorId = BinaryPrimitives.ReadUInt16LittleEndian(config),
            DeviceId = BinaryPrimitives.ReadUInt16LittleEndian(config.AsSpan(2)),
            Revision = config[8],
            ClassCode = BinaryPrimitives.ReadUInt32LittleEndian(config.AsSpan(8)) >> 8,
            SubsystemVendorId = BinaryPrimitives.ReadUInt16LittleEndian(config.AsSpan(0x2c)),
            SubsystemId = BinaryPrimitives.ReadUInt16LittleEndian(config.AsSpan(0x2e)),
            Bars = bars,
            IsExpress = space.Size > 256,
            CanReset = (backend.Flags & VfioDeviceFlags.Reset) != 0,
        };
    }
}
