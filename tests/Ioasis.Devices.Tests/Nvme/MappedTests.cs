using System.Buffers.Binary;
using Ioasis.Devices.Nvme;
using Ioasis.Primitives;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>A driver that has the registers mapped and only stores and loads: the controller looks at them by itself.</summary>
public sealed unsafe class MappedTests : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(2);

    private readonly NvmeHost _host = new();
    private readonly nint _registers;

    public MappedTests() => _host.Backend.Map(0, 0, 16384, out _registers).ShouldBe(Errno.Success);

    public void Dispose()
    {
        _host.Backend.Close();
        _host.Dispose();
    }

    private uint Load(uint offset) => Volatile.Read(ref *(uint*)(_registers + (nint)offset));

    private void Store(uint offset, uint value) => Volatile.Write(ref *(uint*)(_registers + (nint)offset), value);

    private void Wait(uint offset, uint mask, uint value) =>
        SpinWait.SpinUntil(() => (Load(offset) & mask) == value, s_limit).ShouldBeTrue($"0x{Load(offset):x} at 0x{offset:x}");

    private void Enable(ulong submission, ulong completion)
    {
        Store(NvmeRegisters.AdminQueueAttributes, 0x1f_001f);
        Store(NvmeRegisters.AdminSubmissionQueue, (uint)submission);
        Store(NvmeRegisters.AdminSubmissionQueue + 4, 0);
        Store(NvmeRegisters.AdminCompletionQueue, (uint)completion);
        Store(NvmeRegisters.AdminCompletionQueue + 4, 0);
        Store(NvmeRegisters.Configuration, 0x46_0001);
        Wait(NvmeRegisters.Status, 3, NvmeRegisters.Ready);
    }

    [Fact]
    public void A_driver_enables_submits_completes_and_disables_by_stores_and_loads_alone()
    {
        (Load(0) & 0xffff).ShouldBe(0xffffu);
        Load(NvmeRegisters.Version).ShouldBe(NvmeRegisters.Version20);
        ulong submission = _host.Memory.Allocate(4096);
        ulong completion = _host.Memory.Allocate(4096);
        ulong data = _host.Memory.Allocate(4096);
        for (int round = 0; round < 3; round++)
        {
            _host.Memory[completion, 4096].Clear();
            Enable(submission, completion);
            for (uint i = 0; i < 5; i++)
            {
                Command.Identify(1, 0, data).WriteTo(_host.Memory[submission + (i * 64), 64], (ushort)i);
                Store(NvmeRegisters.Doorbells, i + 1);
                ulong at = completion + (i * 16) + 12;
                SpinWait.SpinUntil(() => (Volatile.Read(ref _host.Memory[at, 4][2]) & 1) == 1, s_limit).ShouldBeTrue();
                BinaryPrimitives.ReadUInt16LittleEndian(_host.Memory[at, 2]).ShouldBe((ushort)i);
                Store(NvmeRegisters.Doorbells + 4, i + 1);
            }

            Store(NvmeRegisters.Configuration, 0x46_4001);
            Wait(NvmeRegisters.Status, NvmeRegisters.ShutdownMask, NvmeRegisters.ShutdownComplete);
            Store(NvmeRegisters.Configuration, 0x46_0000);
            Wait(NvmeRegisters.Status, NvmeRegisters.Ready, 0);
        }
    }

    [Fact]
    public void A_doorbell_that_is_stored_twice_with_the_same_value_rings_twice()
    {
        ulong submission = _host.Memory.Allocate(4096);
        ulong completion = _host.Memory.Allocate(4096);
        ulong shadow = _host.Memory.Allocate(4096);
        ulong events = _host.Memory.Allocate(4096);
        ulong data = _host.Memory.Allocate(4096);
        Enable(submission, completion);
        uint done = 0;
        void Put(Command command)
        {
            command.WriteTo(_host.Memory[submission + (done % 32 * 64), 64], (ushort)done);
            done++;
        }

        void WaitForAll()
        {
            uint last = done - 1;
            ulong at = completion + (last % 32 * 16) + 14;
            SpinWait.SpinUntil(() => (Volatile.Read(ref _host.Memory[at, 2][0]) & 1) == (last / 32 % 2 == 0 ? 1 : 0), s_limit).ShouldBeTrue();
            BinaryPrimitives.WriteUInt32LittleEndian(_host.Memory[shadow + 4, 4], done % 32);
            Store(NvmeRegisters.Doorbells + 4, done % 32);
        }

        Put(new(NvmeAdminOpcode.DoorbellBufferConfig) { Data1 = shadow, Data2 = events });
        Store(NvmeRegisters.Doorbells, 1);
        WaitForAll();
        Put(Command.Identify(1, 0, data));
        Store(NvmeRegisters.Doorbells, 2);
        WaitForAll();

        // Once around by memory, which the controller looks at whenever the other doorbell rings; then the register with the value that it had.
        for (int i = 0; i < 31; i++)
        {
            Put(Command.Identify(1, 0, data));
        }

        BinaryPrimitives.WriteUInt32LittleEndian(_host.Memory[shadow, 4], 1);
        Store(NvmeRegisters.Doorbells, 1);
        WaitForAll();
        Put(Command.Identify(1, 0, data));
        BinaryPrimitives.WriteUInt32LittleEndian(_host.Memory[shadow, 4], 2);
        Store(NvmeRegisters.Doorbells, 2);
        WaitForAll();
        Store(NvmeRegisters.Doorbells, 2);
        SpinWait.SpinUntil(() => Load(NvmeRegisters.Doorbells) == uint.MaxValue, s_limit).ShouldBeTrue();
    }

    [Fact]
    public void Masks_read_back_and_writes_through_the_descriptor_show_in_the_mapping()
    {
        Store(NvmeRegisters.InterruptMaskSet, 5);
        SpinWait.SpinUntil(() => _host.Read32(NvmeRegisters.InterruptMaskSet) == 5, s_limit).ShouldBeTrue();
        Store(NvmeRegisters.InterruptMaskClear, 4);
        SpinWait.SpinUntil(() => _host.Read32(NvmeRegisters.InterruptMaskSet) == 1, s_limit).ShouldBeTrue();
        _host.Write32(NvmeRegisters.AdminQueueAttributes, 0x0f_000f);
        Wait(NvmeRegisters.AdminQueueAttributes, uint.MaxValue, 0x0f_000f);
        _host.Write64(NvmeRegisters.AdminSubmissionQueue, 0x1234_5000);
        Wait(NvmeRegisters.AdminSubmissionQueue, uint.MaxValue, 0x1234_5000);
    }
}
