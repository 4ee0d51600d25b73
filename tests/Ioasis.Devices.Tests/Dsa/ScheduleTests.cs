using Ioasis.Devices.Dsa;
using Ioasis.Primitives;
using Ioasis.Testing;
using static Ioasis.Devices.Tests.Dsa.DsaHost;

namespace Ioasis.Devices.Tests.Dsa;

/// <summary>Portals that meet resets, aborts, the end, each other and an unmap, in every order that matters.</summary>
public sealed class ScheduleTests
{
    private abstract class DsaScenario : DeviceScenario<DsaHost>
    {
        protected DsaScenario()
            : base(new())
        {
            Host.Bring(new() { Queue = 0, Pasid = new(3) }, new() { Queue = 1, Pasid = new(4) });
            Source = Host.Memory.Allocate(4096);
            Host.Memory[Source, 512].Fill(0x77);
        }

        protected ulong Source { get; }

        protected void Submit(int queue)
        {
            // It may have been taken off the bus meanwhile.
            Span<byte> bytes = stackalloc byte[64];
            new DsaDescriptor(DsaOperation.Move, Told, Host.Record + ((ulong)queue * 32), Source, Data, 512).WriteTo(bytes);
            _ = Host.Backend.Write(2, (ulong)queue << 14, bytes, out _);
        }

        protected void CheckThatItWorks()
        {
            Permit();
            Host.SetCommand(6);
            Host.Bring();
            Host.Execute(new(DsaOperation.Move, Source: Source, Destination: Data, Length: 512)).Status.ShouldBe(DsaStatus.Success);
            Host.Memory[Data, 512].IndexOfAnyExcept((byte)0x77).ShouldBe(-1);
        }
    }

    private sealed class PortalAgainstFunctionReset : DsaScenario
    {
        public PortalAgainstFunctionReset()
        {
            AddThread("portal", () => Submit(0));
            AddFunctionReset();
        }

        public override void CheckAtEnd()
        {
            Host.Device.Pending.ShouldBe(0);
            CheckThatItWorks();
        }
    }

    private sealed class PortalAgainstTheEnd : DsaScenario
    {
        public PortalAgainstTheEnd()
        {
            AddThread("portal", () => Submit(0));
            AddClose();
        }
    }

    private sealed class PortalAgainstCommand : DsaScenario
    {
        public PortalAgainstCommand(uint command, uint operand)
        {
            AddThread("portal", () => Submit(0));
            AddThread("command", () =>
            {
                Host.Write(Cmd, (command << 20) | operand, 4);
                WaitUntil(() => Host.Error >> 31 == 0);
                Host.Error.ShouldBe(0u);
                Forbid();
            });
        }

        public override void CheckAtEnd()
        {
            Host.Device.Pending.ShouldBe(0);
            CheckThatItWorks();
        }
    }

    private sealed class PasidAgainstPortal : DsaScenario
    {
        public PasidAgainstPortal()
        {
            Host.Memory.OnAccess = (request, _) => _isStopped.ShouldBeFalse($"DMA to 0x{request.Address.Value:x} with a PASID that was drained");
            AddThread("portal", () => Submit(0));
            AddThread("stop", () =>
            {
                Host.Device.PasidUser!.StopPasid(new(3)).ShouldBe(Errno.Success);
                WaitUntil(() => Host.Device.PasidUser!.IsPasidDrained(new(3), out _));
                _isStopped = true;
            });
        }

        private bool _isStopped;

        public override void CheckAtEnd()
        {
            _isStopped = false;
            Host.Device.Pending.ShouldBe(0);
        }
    }

    private sealed class PortalAgainstPortal : DsaScenario
    {
        public PortalAgainstPortal()
        {
            AddThread("first", () => Submit(0));
            AddThread("second", () => Submit(1));
        }

        public override void CheckAtEnd()
        {
            Host.RecordAt(Host.Record).Status.ShouldBe(DsaStatus.Success);
            Host.RecordAt(Host.Record + 32).Status.ShouldBe(DsaStatus.Success);
        }
    }

    private sealed class UnmapAgainstTransfer : DsaScenario
    {
        public UnmapAgainstTransfer()
        {
            AddThread("portal", () => Submit(0));
            AddUnmap();
        }

        public override void CheckAtEnd()
        {
            CheckThatNothingLanded();
            Host.RecordAt(Host.Record).Status.ShouldBeOneOf(DsaStatus.Success, DsaStatus.BusError);
        }
    }

    [Fact]
    public void No_DMA_leaves_after_a_function_reset_has_returned() => DeviceSchedules.Holds(static () => new PortalAgainstFunctionReset());

    [Fact]
    public void No_DMA_leaves_after_the_last_close() => DeviceSchedules.Holds(static () => new PortalAgainstTheEnd());

    [Theory]
    [InlineData(Reset, 0u)]
    [InlineData(Disable, 0u)]
    [InlineData(DisableWq, 1u)]
    [InlineData(ResetWq, 1u)]
    public void No_DMA_leaves_once_a_command_that_ends_it_is_done(uint command, uint operand) =>
        DeviceSchedules.Holds(() => new PortalAgainstCommand(command, operand));

    [Fact]
    public void No_DMA_leaves_with_a_PASID_that_is_drained() => DeviceSchedules.Holds(static () => new PasidAgainstPortal());

    [Fact]
    public void No_descriptor_is_lost_whoever_submits_at_the_same_time() => DeviceSchedules.Holds(static () => new PortalAgainstPortal());

    [Fact]
    public void No_byte_lands_after_its_mapping_went() => DeviceSchedules.Holds(static () => new UnmapAgainstTransfer());
}
