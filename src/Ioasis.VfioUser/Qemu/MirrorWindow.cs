using Ioasis.Primitives;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Qemu;

/// <summary>A range of addresses at which the device has memory: a part of the file that its process has too. The device may write at any time.</summary>
internal sealed unsafe class MirrorWindow : IDisposable
{
    /// <summary>Bytes of a page.</summary>
    public const int PageSize = 4096;

    private readonly MappedFile _file;

    private MirrorWindow(ulong start, ulong length, MappedFile file)
    {
        Start = start;
        Length = length;
        _file = file;
    }

    /// <summary>The first address.</summary>
    public ulong Start { get; }

    /// <summary>Bytes.</summary>
    public ulong Length { get; }

    /// <summary>Makes one on the part of a file that is at its addresses.</summary>
    public static Errno TryCreate(SafeFileHandle file, ulong start, ulong length, out MirrorWindow? made)
    {
        Errno error = MappedFile.TryMap(file, start, length, DmaMapFlags.All, out MappedFile? mapped);
        made = error == Errno.Success ? new(start, length, mapped!) : null;
        return error;
    }

    /// <summary>Whether an address is within.</summary>
    public bool Contains(ulong address) => address - Start < Length;

    /// <summary>The bytes of a range, which is within, as the device has them.</summary>
    public ReadOnlySpan<byte> BytesOf(ulong address, int length) => new((void*)(_file.Address + (address - Start)), length);

    /// <summary>The words of a page, which is within, as the device has them.</summary>
    public Span<ulong> WordsOf(ulong page) => new((ulong*)(_file.Address + (page - Start)), PageSize / sizeof(ulong));

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}

/// <summary>A page that the device reaches.</summary>
/// <param name="start">Its first address.</param>
internal sealed class MirrorPage(ulong start)
{
    /// <summary>Its first address.</summary>
    public ulong Start => start;

    /// <summary>Where the machine's IOMMU leads its accesses.</summary>
    public required PhysicalAddress Address { get; set; }

    /// <summary>What that allows.</summary>
    public required Access Access { get; set; }

    /// <summary>The range that it is in.</summary>
    public required MirrorWindow Window { get; set; }

    /// <summary>What both sides have in common. A word that is another at the device was written by that.</summary>
    public ulong[] Common { get; } = new ulong[MirrorWindow.PageSize / sizeof(ulong)];

    /// <summary>As the device has it.</summary>
    public Span<ulong> Mirror => Window.WordsOf(start);
}
