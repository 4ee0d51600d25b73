using System.Globalization;
using System.Text;
using Ioasis.Hardware;
using Ioasis.Intel.Architecture;
using Ioasis.Intel.Hardware;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.Testing;

namespace Ioasis.Lab.Recordings.Tests;

/// <summary>
/// A Linux guest's RAM and the registers of its IOMMU at a moment when devices were running, in our model, and QEMU's log of what devices
/// did before and after.
/// </summary>
internal sealed class VtdSnapshot : IDisposable
{
    private const int ChunkBytes = 1 << SparsePhysicalMemory.ChunkShift;

    private readonly SparsePhysicalMemory _memory = new();
    private readonly VtdIommu _unit;

    private VtdSnapshot(string name)
    {
        Load(name + ".memory");
        string[] lines = File.ReadAllLines(name + ".registers");
        ulong[] registers = [.. lines[..4].SelectMany(static line => line.Split(' ', StringSplitOptions.TrimEntries)[1..]).Select(Hex)];
        _unit = new(
            new()
            {
                Version = (byte)registers[0],
                Capabilities = new(registers[1]),
                ExtendedCapabilities = new(registers[2]),
                HostAddressWidth = new Capability(registers[1]).MaxGuestAddressWidth,
                Caching = CachingMode.None,
            },
            _memory,
            null,
            null);
        IsTranslating = (registers[3] >> 32 & GlobalControl.TranslationEnableBit) != 0;
        _unit.Write64(RegisterOffset.RootTableAddress, registers[4]);
        _unit.Write32(RegisterOffset.GlobalCommand, GlobalControl.SetRootTableBit);
        _unit.Write32(RegisterOffset.GlobalCommand, GlobalControl.TranslationEnableBit);
        int bytes = int.Parse(lines[^1].Split(' ')[1], CultureInfo.InvariantCulture);
        byte[] log = File.ReadAllBytes(name + ".dma.log");
        Before = Encoding.ASCII.GetString(log, 0, bytes).Split('\n');
        After = Encoding.ASCII.GetString(log, bytes, log.Length - bytes).Split('\n');
    }

    /// <summary>Whether the guest had translation on.</summary>
    public bool IsTranslating { get; }

    /// <summary>QEMU's log until then.</summary>
    public string[] Before { get; }

    /// <summary>What came later.</summary>
    public string[] After { get; }

    /// <summary>Boots a guest, or skips the test with what was missing.</summary>
    /// <param name="machine">Options of lab/record.</param>
    public static VtdSnapshot Take(string machine)
    {
        string name = Path.Combine(ExternalProgram.RepositoryRoot, "artifacts", "recordings", "snapshot" + machine.Replace(" ", "", StringComparison.Ordinal));
        ExternalProgram ended = ExternalProgram.Run("lab/record", TimeSpan.FromMinutes(15), null, [name, "--snapshot", .. machine.Split(' ')]);
        Assert.SkipWhen(ended.LacksSomething, $"lab/record: {ended.Describe()}");
        Assert.True(ended.Status == 0, $"lab/record {machine}: {ended.Describe()}");
        try
        {
            return new(name);
        }
        finally
        {
            File.Delete(name + ".memory");
        }
    }

    /// <summary>Where our walker takes a device's page, by reading or else by writing; null if it does neither.</summary>
    public ulong? Translate(ushort source, ulong iova)
    {
        foreach (DmaFlags flags in (ReadOnlySpan<DmaFlags>)[DmaFlags.None, DmaFlags.Write])
        {
            _unit.Translate(new(new(source), new(iova), flags), out DmaTranslation translation);
            if (translation.Status == DmaStatus.Success)
            {
                return translation.Address.Value;
            }
        }

        return null;
    }

    public void Dispose() => _memory.Dispose();

    private static ulong Hex(string text) => ulong.Parse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    private void Load(string file)
    {
        using FileStream stream = File.OpenRead(file);
        byte[] chunk = new byte[ChunkBytes];
        ulong address = 0;
        for (int read; (read = stream.ReadAtLeast(chunk, chunk.Length, throwOnEndOfStream: false)) > 0; address += (ulong)read)
        {
            if (chunk.AsSpan(0, read).ContainsAnyExcept((byte)0))
            {
                _memory.Write(new(address), chunk.AsSpan(0, read)).ShouldBe(MemoryStatus.Success);
            }
        }
    }
}
