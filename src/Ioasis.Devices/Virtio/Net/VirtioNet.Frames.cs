using System.Buffers;
using System.Buffers.Binary;
using Ioasis.Devices.Network;
using Ioasis.Platform;

namespace Ioasis.Devices.Virtio;

/// <content>
/// Frames (sections 5.1.6.2 to 5.1.6.4). Those that come in wait under a lock of their own, below all others: the device at the other end
/// may give them while it works.
/// </content>
public sealed partial class VirtioNet
{
    // A frame in a buffer of the pool.
    private readonly record struct Frame(byte[] Buffer, int Length, bool IsVerified, long DueAt)
    {
        public ReadOnlySpan<byte> Span => Buffer.AsSpan(0, Length);
    }

    private const int HeaderSize = 12;
    private const int FramesAtATime = 32;
    private const int WaitingFrames = 1024;
    private const int WaitingBytes = 8 << 20;
    private const byte NeedsChecksum = 1;
    private const byte DataValid = 2;

    private readonly IoLock _waitingLock = new();
    private readonly Queue<Frame>[] _waiting;

    // Of each pair, when the first frame is due that came too early; under the lock of the work.
    private readonly long[] _dueAt;
    private VirtioChain _chain;
    private readonly List<VirtioChain> _buffers = [];
    private byte[] _frame = [];
    private int _waitingFrames;
    private int _waitingBytes;
    private int _activePairs = 1;
    private long _sent;
    private long _received;
    private long _notSent;
    private long _notReceived;
    private long _filtered;

    private enum Delivery
    {
        Done,
        Lost,
        NoBuffers,
    }

    /// <inheritdoc/>
    bool INetworkPort.TryReceive(ReadOnlySpan<byte> frame, bool isVerified)
    {
        if (!HasDriver || frame.Length is < NetworkLink.FrameLeast or > NetworkLink.FrameLimit)
        {
            _ = Interlocked.Increment(ref _notReceived);
            return true;
        }

        int pair = PairFor(frame);
        using (_waitingLock.Acquire())
        {
            if (_waitingFrames == WaitingFrames || _waitingBytes + frame.Length > WaitingBytes)
            {
                return false;
            }

            byte[] buffer = ArrayPool<byte>.Shared.Rent(frame.Length);
            frame.CopyTo(buffer);
            TimeSpan delay = _options.Misbehaviour?.DelayOf(VirtioOperation.Receive) ?? TimeSpan.Zero;
            _waiting[pair].Enqueue(new(buffer, frame.Length, isVerified, delay == TimeSpan.Zero ? 0 : After(delay)));
            _waitingFrames++;
            _waitingBytes += frame.Length;
        }

        Notify(2 * pair);
        return true;
    }

    private bool ServeTransmit(VirtioQueue queue)
    {
        for (int i = 0; i < FramesAtATime; i++)
        {
            if (!TryTake(queue, _chain))
            {
                return false;
            }

            if (_chain.ReadableBytes < HeaderSize)
            {
                NeedReset($"a frame to send with {_chain.ReadableBytes} bytes of header: {HeaderSize} are expected");
                return false;
            }

            if (!Begin())
            {
                return false;
            }

            if (IsPutOff(queue, _chain, VirtioOperation.Send))
            {
                _chain = new(this);
            }
            else if (!Send(queue, _chain))
            {
                return false;
            }
        }

        return true;
    }

    /// <inheritdoc/>
    private protected override void ServeLate(VirtioQueue queue, VirtioChain chain) => _ = Send(queue, chain);

    /// <inheritdoc/>
    private protected override long NextDue => _dueAt.Min();

    private bool Send(VirtioQueue queue, VirtioChain chain)
    {
        bool isSent = !IsLost(VirtioOperation.Send) && TrySend(chain);
        _ = Interlocked.Increment(ref isSent ? ref _sent : ref _notSent);
        return Finish(queue, chain, 0);
    }

    private bool IsLost(VirtioOperation operation)
    {
        if (Wrong is not { } wrong)
        {
            return false;
        }

        foreach (VirtioFailure failure in _options.Misbehaviour!.Failures)
        {
            if ((failure.Operation == VirtioOperation.Any || failure.Operation == operation) && wrong.Happens(failure.Value))
            {
                wrong.Note($"{operation}: a frame was lost");
                return true;
            }
        }

        return false;
    }

    private bool TrySend(VirtioChain chain)
    {
        long length = chain.ReadableBytes - HeaderSize;
        if (length < NetworkLink.FrameLeast || length > (Has(Feature.Mtu) ? _options.Mtu + 18 : NetworkLink.FrameLimit))
        {
            return false;
        }

        Span<byte> header = stackalloc byte[HeaderSize];
        if (_frame.Length < length)
        {
            _frame = new byte[NetworkLink.FrameLimit];
        }

        Span<byte> frame = _frame.AsSpan(0, (int)length);
        if (!chain.Read(0, header) || !chain.Read(HeaderSize, frame))
        {
            return false;
        }

        // Segmentation is not offered; a checksum is asked for only by a driver that has agreed to it.
        bool isAsked = (header[0] & NeedsChecksum) != 0;
        if (header[1] != 0 || (isAsked && !Has(Feature.Checksum)))
        {
            return false;
        }

        if (isAsked && !InternetChecksum.TryComplete(
            frame, BinaryPrimitives.ReadUInt16LittleEndian(header[6..]), BinaryPrimitives.ReadUInt16LittleEndian(header[8..])))
        {
            return false;
        }

        return Volatile.Read(ref _link) is { } link && link.Send(frame, isAsked);
    }

    private bool ServeReceive(VirtioQueue queue)
    {
        int pair = queue.Index / 2;
        for (int i = 0; i < FramesAtATime; i++)
        {
            _dueAt[pair] = long.MaxValue;
            if (!TryPeek(pair, out Frame frame))
            {
                return false;
            }

            if (frame.DueAt != 0 && frame.DueAt > Now())
            {
                _dueAt[pair] = frame.DueAt;
                return false;
            }

            if (!Wants(frame.Span))
            {
                _ = Interlocked.Increment(ref _filtered);
                Remove(pair);
                continue;
            }

            Delivery delivery = Give(queue, frame);
            if (delivery == Delivery.NoBuffers)
            {
                return false;
            }

            _ = Interlocked.Increment(ref delivery == Delivery.Done ? ref _received : ref _notReceived);
            Remove(pair);
        }

        return true;
    }

    // Gives a frame to the driver, in one buffer or in several. While there are too few, it waits.
    private Delivery Give(VirtioQueue queue, in Frame frame)
    {
        if (queue.Ring is not { } ring)
        {
            return Delivery.NoBuffers;
        }

        RingPlace place = ring.Place;
        long needed = HeaderSize + frame.Length;
        int count = 0;
        for (long room = 0; room < needed; count++)
        {
            // A frame that is too long for what a driver offers would wait for ever.
            if (count > 0 && (!Has(Feature.MergeableBuffers) || count == queue.Size))
            {
                ring.GoBack(place);
                return Delivery.Lost;
            }

            if (count == _buffers.Count)
            {
                _buffers.Add(new(this));
            }

            if (!TryTake(queue, _buffers[count]))
            {
                ring.GoBack(place);
                return Delivery.NoBuffers;
            }

            if (_buffers[count].WritableBytes < HeaderSize)
            {
                NeedReset($"a buffer to receive of {_buffers[count].WritableBytes} bytes: {HeaderSize} are the least");
                return Delivery.NoBuffers;
            }

            room += _buffers[count].WritableBytes;
        }

        bool isBegun = Begin();
        if (!isBegun || IsLost(VirtioOperation.Receive))
        {
            ring.GoBack(place);
            return isBegun ? Delivery.Lost : Delivery.NoBuffers;
        }

        return Fill(queue, frame, count);
    }

    private Delivery Fill(VirtioQueue queue, in Frame frame, int count)
    {
        Span<byte> header = stackalloc byte[HeaderSize];
        header.Clear();
        header[0] = frame.IsVerified && Has(Feature.GuestChecksum) ? DataValid : (byte)0;
        BinaryPrimitives.WriteUInt16LittleEndian(header[10..], (ushort)count);
        bool isWritten = _buffers[0].Write(0, header);
        ReadOnlySpan<byte> rest = frame.Span;
        for (int i = 0; i < count; i++)
        {
            int first = i == 0 ? HeaderSize : 0;
            int length = (int)Math.Min(rest.Length, _buffers[i].WritableBytes - first);
            isWritten = isWritten && _buffers[i].Write(first, rest[..length]);
            rest = rest[length..];

            // Buffers that cannot be written come back empty: a driver takes them for frames that are too short.
            if (!Use(queue, _buffers[i], isWritten ? first + length : 0))
            {
                return Delivery.NoBuffers;
            }
        }

        if (!Publish(queue))
        {
            return Delivery.NoBuffers;
        }

        if (isWritten && Wrong is { } wrong)
        {
            Stray(_buffers[0]);
            for (int again = wrong.Times("a received frame"); again > 1 && UseAgain(queue, count, HeaderSize + frame.Length); again--)
            {
            }
        }

        return isWritten ? Delivery.Done : Delivery.Lost;
    }

    private bool UseAgain(VirtioQueue queue, int count, long length)
    {
        for (int i = 0; i < count; i++)
        {
            if (!Use(queue, _buffers[i], Math.Min(length, _buffers[i].WritableBytes)))
            {
                return false;
            }

            length -= _buffers[i].WritableBytes;
        }

        return Publish(queue);
    }

    private bool TryPeek(int pair, out Frame frame)
    {
        using (_waitingLock.Acquire())
        {
            return _waiting[pair].TryPeek(out frame);
        }
    }

    private void Remove(int pair)
    {
        using (_waitingLock.Acquire())
        {
            TakeFirst(_waiting[pair]);
        }
    }

    private void TakeFirst(Queue<Frame> queue)
    {
        Frame frame = queue.Dequeue();
        _waitingFrames--;
        _waitingBytes -= frame.Length;
        ArrayPool<byte>.Shared.Return(frame.Buffer);
    }

    private void Forget()
    {
        Array.Fill(_dueAt, long.MaxValue);
        using (_waitingLock.Acquire())
        {
            foreach (Queue<Frame> queue in _waiting)
            {
                while (queue.Count > 0)
                {
                    TakeFirst(queue);
                }
            }
        }
    }

    // Frames of a flow keep their order: by addresses and, of IP, what follows them.
    private int PairFor(ReadOnlySpan<byte> frame)
    {
        int pairs = Volatile.Read(ref _activePairs);
        if (pairs == 1)
        {
            return 0;
        }

        HashCode hash = default;
        hash.AddBytes(frame[..NetworkLink.FrameLeast]);
        if (frame.Length >= 38 && BinaryPrimitives.ReadUInt16BigEndian(frame[12..]) == 0x0800)
        {
            // Addresses, and the ports of a first fragment without options.
            hash.AddBytes(frame.Slice(26, frame[23] is 6 or 17 && frame[14] == 0x45 && (BinaryPrimitives.ReadUInt16BigEndian(frame[20..]) & 0x3fff) == 0 ? 12 : 8));
        }

        return (int)((uint)hash.ToHashCode() % (uint)pairs);
    }
}
