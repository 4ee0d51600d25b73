using System.Runtime.InteropServices;
using Ioasis.Uapi;

namespace Ioasis.Kernel;

/// <summary>
/// The capabilities that follow an information structure of VFIO. Each begins at a multiple of 8, made so while the chain is
/// built (S3.10), and states its version (S3.11).
/// </summary>
/// <param name="start">Offset of the first capability from the start of the structure; a multiple of 8.</param>
internal sealed class CapabilityChain(int start)
{
    private readonly List<byte> _bytes = [];
    private int _lastHeader = -1;

    /// <summary>The chain, without what comes before it.</summary>
    public ReadOnlySpan<byte> Bytes => CollectionsMarshal.AsSpan(_bytes);

    /// <summary>Adds a capability after the others.</summary>
    public void Add(ushort id, ushort version, ReadOnlySpan<byte> body)
    {
        int offset = _bytes.Count;
        VfioInfoCapHeader header = new() { Id = id, Version = version };
        _bytes.AddRange(MemoryMarshal.AsBytes(new ReadOnlySpan<VfioInfoCapHeader>(in header)));
        _bytes.AddRange(body);
        while (_bytes.Count % 8 != 0)
        {
            _bytes.Add(0);
        }

        if (_lastHeader >= 0)
        {
            MemoryMarshal.Write(CollectionsMarshal.AsSpan(_bytes)[(_lastHeader + 4)..], (uint)(start + offset));
        }

        _lastHeader = offset;
    }
}
