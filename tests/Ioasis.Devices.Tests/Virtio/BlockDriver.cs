using System.Buffers.Binary;
using Ioasis.Devices.Virtio;

namespace Ioasis.Devices.Tests.Virtio;

/// <summary>Requests to a virtio-blk device as a driver builds them.</summary>
internal sealed class BlockDriver
{
    public const byte Ok = 0;
    public const byte IoError = 1;
    public const byte Unsupported = 2;

    private readonly VirtioHost _host;
    private readonly DriverRing _ring;
    private readonly ulong _page;

    public BlockDriver(VirtioHost host, DriverRing ring)
    {
        _host = host;
        _ring = ring;
        _page = host.Memory.Allocate(4096);
    }

    public ulong HeaderAt => _page;

    public ulong StatusAt => _page + 64;

    public byte Status => _host.Memory[StatusAt, 1][0];

    public Piece Header(uint type, ulong sector = 0)
    {
        Span<byte> header = _host.Memory[_page, 16];
        header.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header, type);
        BinaryPrimitives.WriteUInt64LittleEndian(header[8..], sector);
        _host.Memory[StatusAt, 1][0] = 0xff;
        return new(_page, 16);
    }

    public Piece End => new(StatusAt, 1, true);

    /// <summary>Does a request alone.</summary>
    /// <returns>Its status.</returns>
    public byte Execute(uint type, ulong sector = 0, params Piece[] data) => Execute(false, type, sector, data);

    public byte Execute(bool indirect, uint type, ulong sector, params Piece[] data)
    {
        uint id = _ring.Put(indirect, [Header(type, sector), .. data, End]);
        _ring.Kick();
        UsedBuffer used = _ring.Take().ShouldHaveSingleItem(_host.Device.DriverMistake);
        used.Id.ShouldBe(id);
        return Status;
    }

    public byte Range(uint type, ulong sector, uint count, uint flags = 0)
    {
        Span<byte> range = _host.Memory[_page + 128, 16];
        BinaryPrimitives.WriteUInt64LittleEndian(range, sector);
        BinaryPrimitives.WriteUInt32LittleEndian(range[8..], count);
        BinaryPrimitives.WriteUInt32LittleEndian(range[12..], flags);
        return Execute(type, 0, new Piece(_page + 128, 16));
    }
}
