using Ioasis.Client;

namespace Ioasis.Examples;

/// <summary>A driver of virtio-net (virtio 1.3, section 5.1) with one pair of queues. It does not know whose device it is.</summary>
public sealed class VirtioNetwork : IDisposable
{
    /// <summary>Most bytes of a frame.</summary>
    public const int FrameLimit = 1514;

    /// <summary>Bytes that it needs of an area.</summary>
    public const int AreaSize = (2 * Buffers * BufferSize) + 8192;

    private const int HeaderSize = 12;
    private const int BufferSize = 2048;
    private const int Buffers = 32;
    private const ulong MacFeature = 1 << 5;
    private const ulong StatusFeature = 1 << 16;

    private readonly VirtioTransport _transport;
    private readonly VirtioQueue _receive;
    private readonly VirtioQueue _transmit;
    private readonly Dictionary<int, DmaBuffer> _receiving = [];
    private readonly Dictionary<int, DmaBuffer> _sending = [];
    private readonly Stack<DmaBuffer> _free = new();

    private VirtioNetwork(VirtioTransport transport, DmaArea area)
    {
        _transport = transport;
        _receive = transport.EnableQueue(0, Buffers, area);
        _transmit = transport.EnableQueue(1, Buffers, area);
        transport.Start();
        for (int i = 0; i < _receive.Size; i++)
        {
            Offer(area.Take(BufferSize));
        }

        for (int i = 0; i < _transmit.Size; i++)
        {
            _free.Push(area.Take(BufferSize));
        }

        transport.Notify(_receive);
    }

    /// <summary>The address of the card: six bytes, the first on the wire first.</summary>
    public byte[] MacAddress => [.. Enumerable.Range(0, 6).Select(_transport.ReadConfiguration<byte>)];

    /// <summary>Whether somebody is at the other end of the cable.</summary>
    public bool IsLinkUp => (_transport.Features & StatusFeature) == 0 || (_transport.ReadConfiguration<ushort>(6) & 1) != 0;

    /// <summary>Takes over a network card.</summary>
    /// <param name="device">The device; it stays the caller's.</param>
    /// <param name="area">Memory that is mapped for it, <see cref="AreaSize"/> bytes of which are free; it stays the caller's.</param>
    public static VirtioNetwork Start(VfioDevice device, DmaArea area)
    {
        ArgumentNullException.ThrowIfNull(area);
        VirtioTransport transport = VirtioTransport.Open(device, 1, MacFeature | StatusFeature);
        try
        {
            return new(transport, area);
        }
        catch
        {
            transport.Dispose();
            throw;
        }
    }

    /// <summary>Sends a frame; waits only while all buffers are with the device.</summary>
    /// <exception cref="ArgumentException">It is too long.</exception>
    public async Task SendAsync(ReadOnlyMemory<byte> frame, CancellationToken cancellationToken = default)
    {
        if (frame.Length > FrameLimit)
        {
            throw new ArgumentException($"A frame of {frame.Length} bytes: {FrameLimit} are possible.", nameof(frame));
        }

        TakeSent();
        while (_free.Count == 0)
        {
            await _transport.WaitAsync(_transmit, cancellationToken).ConfigureAwait(false);
            TakeSent();
        }

        DmaBuffer buffer = _free.Pop();
        buffer.Span[..HeaderSize].Clear();
        frame.Span.CopyTo(buffer.Span[HeaderSize..]);
        _sending[_transmit.Add(new VirtioPiece(buffer.Iova.Value, HeaderSize + frame.Length))] = buffer;
        _transport.Notify(_transmit);
    }

    /// <summary>Waits for a frame.</summary>
    public async Task<byte[]> ReceiveAsync(CancellationToken cancellationToken = default)
    {
        while (true)
        {
            while (_receive.TryTake(out int number, out int written))
            {
                DmaBuffer buffer = _receiving[number];

                // A length of less than the header says that the device could not write the buffer.
                byte[]? frame = written > HeaderSize ? buffer.Span[HeaderSize..written].ToArray() : null;
                Offer(buffer);
                _transport.Notify(_receive);
                if (frame is not null)
                {
                    return frame;
                }
            }

            await _transport.WaitAsync(_receive, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Resets the device.</summary>
    public void Dispose() => _transport.Dispose();

    private void Offer(DmaBuffer buffer) => _receiving[_receive.Add(new VirtioPiece(buffer.Iova.Value, BufferSize, true))] = buffer;

    private void TakeSent()
    {
        while (_transmit.TryTake(out int number, out _))
        {
            _free.Push(_sending[number]);
        }
    }
}
