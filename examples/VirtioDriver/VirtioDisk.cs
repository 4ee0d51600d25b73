using System.Buffers.Binary;
using Ioasis.Client;

namespace Ioasis.Examples;

/// <summary>A driver of virtio-blk (virtio 1.3, section 5.2): one request at a time. It does not know whose device it is.</summary>
public sealed class VirtioDisk : IDisposable
{
    /// <summary>Bytes of a sector.</summary>
    public const int SectorSize = 512;

    /// <summary>Most bytes of a transfer.</summary>
    public const int TransferLimit = 64 << 10;

    /// <summary>Bytes that it needs of an area.</summary>
    public const int AreaSize = TransferLimit + 8192;

    private const int HeaderSize = 16;
    private const ulong FlushFeature = 1 << 9;

    private readonly VirtioTransport _transport;
    private readonly VirtioQueue _queue;
    private readonly DmaBuffer _header;
    private readonly DmaBuffer _status;
    private readonly DmaBuffer _data;

    private VirtioDisk(VirtioTransport transport, DmaArea area)
    {
        _transport = transport;
        _queue = transport.EnableQueue(0, 64, area);
        _header = area.Take(HeaderSize);
        _status = area.Take(1);
        _data = area.Take(TransferLimit);
        transport.Start();
    }

    private enum Request : uint
    {
        Read = 0,
        Write = 1,
        Flush = 4,
    }

    /// <summary>Sectors.</summary>
    public ulong Capacity => _transport.ReadConfiguration<ulong>(0);

    /// <summary>Takes over a disk.</summary>
    /// <param name="device">The device; it stays the caller's.</param>
    /// <param name="area">Memory that is mapped for it, <see cref="AreaSize"/> bytes of which are free; it stays the caller's.</param>
    public static VirtioDisk Start(VfioDevice device, DmaArea area)
    {
        ArgumentNullException.ThrowIfNull(area);
        VirtioTransport transport = VirtioTransport.Open(device, 2, FlushFeature);
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

    /// <summary>Reads sectors.</summary>
    /// <exception cref="IOException">The device could not.</exception>
    public async Task ReadAsync(ulong sector, Memory<byte> destination, CancellationToken cancellationToken = default)
    {
        await ExecuteAsync(Request.Read, sector, destination.Length, cancellationToken).ConfigureAwait(false);
        _data.Span[..destination.Length].CopyTo(destination.Span);
    }

    /// <summary>Writes sectors.</summary>
    /// <exception cref="IOException">The device could not.</exception>
    public Task WriteAsync(ulong sector, ReadOnlyMemory<byte> source, CancellationToken cancellationToken = default)
    {
        source.Span.CopyTo(_data.Span);
        return ExecuteAsync(Request.Write, sector, source.Length, cancellationToken);
    }

    /// <summary>Makes what was written last.</summary>
    /// <exception cref="IOException">The device could not.</exception>
    public Task FlushAsync(CancellationToken cancellationToken = default) => (_transport.Features & FlushFeature) != 0
        ? ExecuteAsync(Request.Flush, 0, 0, cancellationToken)
        : Task.CompletedTask;

    /// <summary>Resets the device.</summary>
    public void Dispose() => _transport.Dispose();

    private async Task ExecuteAsync(Request request, ulong sector, int length, CancellationToken cancellationToken)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_header.Span, (uint)request);
        BinaryPrimitives.WriteUInt64LittleEndian(_header.Span[8..], sector);
        _status.Span[0] = 0xff;
        VirtioPiece header = new(_header.Iova.Value, HeaderSize);
        VirtioPiece data = new(_data.Iova.Value, length, request == Request.Read);
        VirtioPiece status = new(_status.Iova.Value, 1, true);
        _ = length > 0 ? _queue.Add(header, data, status) : _queue.Add(header, status);
        _transport.Notify(_queue);
        while (!_queue.TryTake(out _, out _))
        {
            await _transport.WaitAsync(_queue, cancellationToken).ConfigureAwait(false);
        }

        if (_status.Span[0] != 0)
        {
            throw new IOException($"{request} of {length} bytes at sector {sector} ended with status {_status.Span[0]}.");
        }
    }
}
