using System.Buffers.Binary;
using Ioasis.Devices.Dsa;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Dsa;

/// <summary>A host with an accelerator: registers and portals through the VFIO seam, memory that it owns, nothing between.</summary>
internal sealed class DsaHost : DeviceHost
{
    public const uint GenCap = 0x10, WqCap = 0x20, GrpCap = 0x30, EngCap = 0x38, OpCap = 0x40, Tables = 0x60, GenCfg = 0x80, GenCtrl = 0x88,
        GenSts = 0x90, IntCause = 0x98, Cmd = 0xa0, CmdSts = 0xa8, CmdCap = 0xb0, SwErr = 0xc0, EvlCfg = 0xe0, EvlStatus = 0xf0, GrpCfg = 0x400, WqCfg = 0x800,
        MsixPerm = 0xc00;

    public const uint Enable = 1, Disable = 2, DrainAll = 3, AbortAll = 4, Reset = 5, EnableWq = 6, DisableWq = 7, DrainWq = 8, AbortWq = 9, ResetWq = 10,
        DrainPasid = 11, AbortPasid = 12, RequestHandle = 13, ReleaseHandle = 14;

    public const DsaFlags Told = DsaFlags.CompletionAddressValid | DsaFlags.RequestCompletion;

    public DsaHost(DsaOptions? options = null)
        : this(new DsaDevice(options ?? new() { HasAts = false, HasPageRequests = false }), new(2 << 20))
    {
    }

    private DsaHost(DsaDevice device, HostMemory memory)
        : base(device, memory)
    {
        Device = device;
        device.Assign(new ulong[2]);
        device.Connect(new(DeviceId.FromPci(0, 0, 1, 0), Memory));
        Backend.Open().ShouldBe(Errno.Success);
        SetCommand(6);
        Record = memory.Allocate(4096);
    }

    public DsaDevice Device { get; }

    /// <summary>A page for completion records.</summary>
    public ulong Record { get; }

    public uint Error => (uint)Read(CmdSts, 4);

    /// <summary>Gives a command.</summary>
    /// <returns>CMDSTS: 0 if it is done.</returns>
    public uint Command(uint command, uint operand = 0)
    {
        Write(Cmd, (command << 20) | operand, 4);
        return Error;
    }

    public static uint ConfigOf(int queue, uint place = 0) => WqCfg + ((uint)queue * 64) + place;

    public uint StateOf(int queue) => (uint)Read(ConfigOf(queue, 24), 4) >> 30;

    public uint CountOf(int queue) => (uint)Read(ConfigOf(queue, 24), 2);

    /// <summary>One dedicated queue, 0, unless said otherwise.</summary>
    public void Bring(params DsaQueueSetup[] queues) => DsaSetup.Enable(Device, queues.Length == 0 ? [new()] : queues);

    /// <summary>64 bytes at once to a portal.</summary>
    public void Store(ReadOnlySpan<byte> bytes, int queue = 0)
    {
        Backend.Write(2, (ulong)queue << 14, bytes, out int count).ShouldBe(Errno.Success);
        count.ShouldBe(64);
    }

    public void Store(in DsaDescriptor descriptor, int queue = 0)
    {
        Span<byte> bytes = stackalloc byte[64];
        descriptor.WriteTo(bytes);
        Store(bytes, queue);
    }

    public void Put(ulong at, in DsaDescriptor descriptor) => descriptor.WriteTo(Memory[at, 64]);

    /// <summary>Has a descriptor done, with a completion record.</summary>
    public DsaCompletion Execute(in DsaDescriptor descriptor, int queue = 0)
    {
        Memory[Record, 32].Clear();
        Store(descriptor with { Flags = descriptor.Flags | Told, Completion = Record }, queue);
        WaitFor(() => Memory[Record, 1][0] != 0);
        return DsaCompletion.Read(Memory[Record, 32]);
    }

    public DsaCompletion RecordAt(ulong at) => DsaCompletion.Read(Memory[at, 32]);
}
