using System.Buffers;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser;

/// <summary>A message that has come in, with the descriptors beside it. Its buffer is given back, and what nobody took of its descriptors closed, when it is disposed of.</summary>
internal sealed class Message : IDisposable
{
    private readonly SafeFileHandle?[] _descriptors;
    private byte[]? _buffer;

    /// <summary>Makes one.</summary>
    /// <param name="header">Its header.</param>
    /// <param name="buffer">What follows the header; rented.</param>
    /// <param name="descriptors">The descriptors, in their order.</param>
    public Message(in MessageHeader header, byte[] buffer, IReadOnlyCollection<SafeFileHandle> descriptors)
    {
        Header = header;
        _buffer = buffer;
        _descriptors = [.. descriptors];
    }

    /// <summary>Its header.</summary>
    public MessageHeader Header { get; }

    /// <summary>What follows the header.</summary>
    public Span<byte> Payload => _buffer.AsSpan(0, (int)Header.Size - MessageHeader.Bytes);

    /// <summary>How many descriptors came with it.</summary>
    public int DescriptorCount => _descriptors.Length;

    /// <summary>Takes a descriptor over; null if it was taken before.</summary>
    public SafeFileHandle? TakeDescriptor(int index)
    {
        SafeFileHandle? taken = _descriptors[index];
        _descriptors[index] = null;
        return taken;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SafeFileHandle? descriptor in _descriptors)
        {
            descriptor?.Dispose();
        }

        if (_buffer is { } buffer)
        {
            _buffer = null;
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
