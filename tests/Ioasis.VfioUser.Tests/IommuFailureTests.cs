using Ioasis.Devices;
using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;
using Ioasis.RiscV.Hardware;

namespace Ioasis.VfioUser.Tests;

/// <summary>An IOMMU that fails on request, and the log of what it does.</summary>
public sealed class IommuFailureTests : IDisposable
{
    private const ulong Memory = 0x8000_0000;
    private const ulong Commands = Memory + 0x1000;
    private const ulong Faults = Memory + 0x2000;
    private const ulong Directory = Memory + 0x3000;
    private const ulong Fence = 2;
    private const ulong Invalidate = 1;

    private readonly SharedMemory _memory = new(1 << 20);
    private readonly ProbeDevice _device = new();
    private readonly DirectoryInfo _folder = System.IO.Directory.CreateTempSubdirectory("ioasis");
    private readonly StringWriter _lines = new();
    private RiscVIommuFunction? _iommu;
    private ServedMachine? _machine;
    private TestClient? _client;
    private TestClient? _other;
    private uint _tail;

    public void Dispose()
    {
        _client?.Dispose();
        _other?.Dispose();
        _machine?.Dispose();
        _memory.Dispose();
        _folder.Delete(recursive: true);
    }

    [Theory]
    [InlineData("cmd-ill", QueueCsr.CommandIllegalBit)]
    [InlineData("cmd-to", QueueCsr.CommandTimeoutBit)]
    [InlineData("cmd-mf", QueueCsr.MemoryFaultBit)]
    public void A_command_fails_when_it_was_asked_for_and_is_executed_once_the_error_is_cleared(string what, uint bit)
    {
        Start($"riscv-iommu,inject={what}@2:2");
        Send(Invalidate);
        Csr.ShouldBe(0u);
        Send(Fence);
        Csr.ShouldBe(bit);
        Head.ShouldBe(1u);

        // What comes behind waits too.
        Send(Fence);
        Head.ShouldBe(1u);
        Clear(bit);
        (Csr, Head).ShouldBe((bit, 1u));
        Clear(bit);
        (Csr, Head).ShouldBe((0u, 3u));
        _iommu!.Misdeeds.ShouldBe(
        [
            new(2, $"{what}: command 0x2 0x0"),
            new(2, $"{what}: command 0x2 0x0"),
            new(2, "command 0x2 0x0 passed; 1 were sent behind it before"),
        ]);
    }

    [Fact]
    public void A_command_that_stalls_waits_without_an_error_for_the_next_one()
    {
        Start("riscv-iommu,inject=cmd-stall@1:2");
        Send(Invalidate);
        (Csr, Head).ShouldBe((0u, 0u));
        Send(Fence);
        (Csr, Head).ShouldBe((0u, 0u));
        Send(Fence);
        (Csr, Head).ShouldBe((0u, 3u));
        _iommu!.Misdeeds[^1].ShouldBe(new DeviceMisdeed(1, "command 0x1 0x0 passed; 2 were sent behind it before"));
    }

    [Fact]
    public void A_command_that_always_fails_never_passes_until_the_function_is_reset()
    {
        Start("riscv-iommu,inject=cmd-ill@1:always");
        Send(Fence);
        for (int i = 0; i < 20; i++)
        {
            Csr.ShouldBe(QueueCsr.CommandIllegalBit);
            Clear(QueueCsr.CommandIllegalBit);
        }

        Head.ShouldBe(0u);
        _client!.Call(VfioUserCommand.DeviceReset, [], [], out _).ShouldBe(Errno.Success);
        _client.Enable();
        TurnQueuesOn();
        Send(Fence);
        Csr.ShouldBe(QueueCsr.CommandIllegalBit);
    }

    [Theory]
    [InlineData("fault-queue-overflow", QueueCsr.OverflowBit)]
    [InlineData("fault-queue-mf", QueueCsr.MemoryFaultBit)]
    public void A_fault_record_is_lost_when_it_was_asked_for(string what, uint bit)
    {
        Start($"riscv-iommu,inject={what}@2");
        foreach (ulong address in (ulong[])[0x1000, 0x2000, 0x3000])
        {
            _device.DmaRead(address, new byte[8]).ShouldBe(DmaStatus.UnsupportedRequest);
        }

        // The third found the queue stopped.
        FaultTail.ShouldBe(1u);
        (_client!.Read(0, RegisterOffset.FaultQueueCsr, 4) & (QueueCsr.OverflowBit | QueueCsr.MemoryFaultBit)).ShouldBe(bit);
        _client.Write(0, RegisterOffset.FaultQueueCsr, 4, bit | QueueCsr.EnableBit | QueueCsr.InterruptEnableBit);
        _device.DmaRead(0x4000, new byte[8]).ShouldBe(DmaStatus.UnsupportedRequest);
        FaultTail.ShouldBe(2u);
        _iommu!.Misdeeds.ShouldHaveSingleItem().ShouldBe(new DeviceMisdeed(2, $"{what}: record of cause 258 at 0x2000"));
    }

    [Fact]
    public void The_log_has_commands_accesses_faults_and_marks_as_a_replay_reads_them()
    {
        Start("riscv-iommu,caching=hostile");
        Send(Invalidate);

        // The context of 00:02.0 lets everything through.
        _memory.Bytes[0x3000 + (0x10 * 64)] = 1;
        _device.DmaWrite(Memory + 0x5ff0, new byte[32]).ShouldBe(DmaStatus.Success);
        _device.DmaRead(0x100, new byte[8]).ShouldNotBe(DmaStatus.Success);
        _other!.Write(TestClient.Config, 0, 4, 0xa55a_0007);
        _memory.Bytes[0x3000 + (0x10 * 64)] = 0;
        Send(3);
        _device.DmaRead(0x200, new byte[8]).ShouldBe(DmaStatus.UnsupportedRequest);
        string[] lines = _lines.ToString().Split(Environment.NewLine, StringSplitOptions.RemoveEmptyEntries);
        lines.Select(static line => line[(line.IndexOf(' ', StringComparison.Ordinal) + 1)..]).ShouldBe(
        [
            "riscv_iommu_cmd 00:01.0: command 0x1 0x0",
            "riscv_iommu_dma 00:01.0: translate 0000:02.0 #0 WR 0x80005ff0 -> 0x80005ff0",
            "riscv_iommu_dma 00:01.0: translate 0000:02.0 #0 WR 0x80006000 -> 0x80006000",
            "riscv_iommu_dma 00:01.0: translate 0000:02.0 #0 RO 0x100 -> 0x100",
            "pci_cfg_write ioasis 00:02.0 @0x0 <- 0xa55a0007",
            "riscv_iommu_cmd 00:01.0: command 0x3 0x0",
            "riscv_iommu_flt 00:01.0: fault 0000:02.0 reason: 0x100800000102 iova: 0x200 iotval2: 0x0",
            "riscv_iommu_dma 00:01.0: translate 0000:02.0 #0 RO 0x200 -> 0x0",
        ]);
        DateTimeOffset.TryParse(lines[0].Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture, out _).ShouldBeTrue();
    }

    [Theory]
    [InlineData("cmd-ill", "WHAT@N[:TIMES] is expected")]
    [InlineData("nothing@1", "WHAT one of cmd-ill, cmd-to, cmd-mf, cmd-stall, fault-queue-overflow, fault-queue-mf")]
    [InlineData("cmd-ill@0", "inject=0")]
    [InlineData("cmd-ill@1:never", "inject=never")]
    public void What_cannot_fail_so_is_refused(string text, string reason)
    {
        DeviceKinds kinds = new();
        kinds.Add(RiscVIommuFunction.Kind);
        kinds.TryCreate($"riscv-iommu,inject={text}", out _, out _).ShouldNotBeNull().ShouldContain(reason);
    }

    private uint Csr => (uint)_client!.Read(0, RegisterOffset.CommandQueueCsr, 4)
        & (QueueCsr.MemoryFaultBit | QueueCsr.CommandTimeoutBit | QueueCsr.CommandIllegalBit);

    private uint Head => (uint)_client!.Read(0, RegisterOffset.CommandQueueHead, 4);

    private uint FaultTail => (uint)_client!.Read(0, RegisterOffset.FaultQueueTail, 4);

    // The function beside it is 00:02.0, and its directory of one level empty.
    private void Start(string text)
    {
        DeviceKinds kinds = new();
        kinds.Add(RiscVIommuFunction.Kind);
        kinds.TryCreate(text, out PciDevice? device, out _).ShouldBeNull();
        _iommu = (RiscVIommuFunction)device!;
        _machine = new(new() { Accesses = new(_lines) });
        _machine.Add(_iommu, DeviceId.FromPci(0, 0, 1, 0), Path.Combine(_folder.FullName, "0.sock"));
        _machine.Add(_device, DeviceId.FromPci(0, 0, 2, 0), Path.Combine(_folder.FullName, "1.sock"));
        _machine.Start();
        _client = new(Path.Combine(_folder.FullName, "0.sock"));
        _other = new(Path.Combine(_folder.FullName, "1.sock"));
        _client.Enable();
        _other.Enable();
        _client.Map(Memory, 1 << 20, _memory).ShouldBe(Errno.Success);
        TurnQueuesOn();
    }

    private void TurnQueuesOn()
    {
        const uint On = QueueCsr.EnableBit | QueueCsr.InterruptEnableBit;
        _tail = 0;
        _client!.Write(0, RegisterOffset.CommandQueueBase, 8, (Commands >> 2) | 5);
        _client.Write(0, RegisterOffset.CommandQueueCsr, 4, On);
        _client.Write(0, RegisterOffset.FaultQueueBase, 8, (Faults >> 2) | 5);
        _client.Write(0, RegisterOffset.FaultQueueCsr, 4, On);
        _client.Write(0, RegisterOffset.DeviceDirectoryTablePointer, 8, (Directory >> 2) | (ulong)IommuMode.OneLevel);
    }

    private void Send(ulong low)
    {
        System.Runtime.InteropServices.MemoryMarshal.Write(_memory.Bytes[(0x1000 + ((int)_tail * 16))..], low);
        _client!.Write(0, RegisterOffset.CommandQueueTail, 4, ++_tail);
    }

    private void Clear(uint bit) =>
        _client!.Write(0, RegisterOffset.CommandQueueCsr, 4, bit | QueueCsr.EnableBit | QueueCsr.InterruptEnableBit);
}
