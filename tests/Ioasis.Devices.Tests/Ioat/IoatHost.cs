using System.Buffers.Binary;
using Ioasis.Devices.Ioat;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Ioat;

/// <summary>A host with an I/OAT engine: registers through the VFIO seam, memory that it owns, nothing between.</summary>
internal sealed class IoatHost : DeviceHost
{
    public const uint IntrCtrl = 0x03, AttnStatus = 0x04, ChanCtrl = 0x80, ChanCmd = 0x84, DmaCount = 0x86, ChanSts = 0x88, ChainAddr = 0x90,
        ChanCmp = 0x98, Cdar = 0xa0, ChanErr = 0xa8, ChanErrMask = 0xac;

    public const uint Interrupt = 1, Completion = 8, Null = 0x20, Fill = 1 << 24;

    public IoatHost(int transferLog2 = 16)
        : this(new IoatDevice(new() { TransferLog2 = transferLog2 }))
    {
    }

    private IoatHost(IoatDevice device)
        : base(device, new())
    {
        Device = device;
        device.Assign(new ulong[1]);
        device.Connect(new(DeviceId.FromPci(0, 0, 1, 0), Memory));
        Backend.Open().ShouldBe(Errno.Success);
        SetCommand(6);
    }

    public IoatDevice Device { get; }

    public IoatState State => (IoatState)(Read(ChanSts, 8) & 7);

    public IoatErrors Errors => (IoatErrors)Read(ChanErr, 4);

    /// <summary>Writes a descriptor.</summary>
    /// <returns>Its address.</returns>
    public ulong Put(ulong at, uint control, ulong source, ulong destination, uint length, ulong next = 0)
    {
        Span<byte> bytes = Memory[at, 64];
        bytes.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, length);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], control);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], source);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[16..], destination);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[24..], next);
        return at;
    }

    /// <summary>Has a chain done.</summary>
    public void Run(ulong chain, int count = 1)
    {
        Write(ChainAddr, chain, 8);
        Write(DmaCount, (ulong)count, 2);
    }
}
