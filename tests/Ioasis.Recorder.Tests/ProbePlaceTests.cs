using Ioasis.Primitives;

namespace Ioasis.Recorder.Tests;

/// <summary>
/// Where probes stand. At the function tracer's call an interrupt can come into a probe's handling, and passes all probes by;
/// behind it stands a breakpoint, for which the kernel's optimization must be off, and on again whatever happens.
/// </summary>
public sealed class ProbePlaceTests : IDisposable
{
    private readonly FakeKernel _kernel = FakeKernel.Create();

    public void Dispose() => _kernel.Dispose();

    [Fact]
    public void On_x86_a_probe_stands_behind_the_tracers_call_and_notes_registers_and_the_stack()
    {
        MachineChanges changes = Begin();

        _kernel.Probes().ShouldContain(
            "p:ioasis_4711_815/ioasis_map iommu_map+5 domain=%di:x64 type=+0(%di):u32 iova=%si:x64 paddr=%dx:x64 size=%cx:x64 sp=%sp:x64");
        _kernel.Probes().ShouldContain("p:ioasis_4711_815/ioasis_other_prepare_msi iommu_dma_prepare_msi+5 sp=%sp:x64");
        _kernel.IsOptimizing.ShouldBeFalse();
        changes.UndoAll().ShouldBeEmpty();
        _kernel.IsOptimizing.ShouldBeTrue();
        Record().Notes.ShouldNotContain(static note => note.Contains("interrupt", StringComparison.Ordinal));
    }

    [Fact]
    public void Where_a_landing_pad_comes_first_the_call_is_behind_that()
    {
        _kernel.JudgePlace = static place => place.EndsWith("+5", StringComparison.Ordinal) ? Errno.IllegalSequence : Errno.Success;

        Record().Notes.ShouldNotContain(static note => note.Contains("interrupt", StringComparison.Ordinal));

        _kernel.Changes.ShouldContain(static change => change.StartsWith("p:ioasis_4711_815/ioasis_unmap iommu_unmap+9 domain=%di:x64", StringComparison.Ordinal));
        _kernel.Changes.ShouldNotContain(static change => change.StartsWith("p:ioasis_4711_815/ioasis_unmap iommu_unmap domain", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(Errno.InvalidArgument)]
    [InlineData(Errno.IllegalSequence)]
    public void What_can_only_be_probed_at_its_entry_is_and_a_note_says_what_that_may_cost(Errno error)
    {
        _kernel.JudgePlace = place => place.Contains('+', StringComparison.Ordinal) && place.StartsWith("iommu_unmap+", StringComparison.Ordinal) ? error : Errno.Success;

        RecordingResult result = Record();

        _kernel.Changes.ShouldContain(static change => change.StartsWith(
            "p:ioasis_4711_815/ioasis_unmap iommu_unmap domain=$arg1:x64 type=+0($arg1):u32 iova=$arg2:x64 size=$arg3:x64 sp=%sp:x64 >", StringComparison.Ordinal));
        result.Notes.ShouldHaveSingleItem().ShouldEndWith("passes the others by: ioasis_unmap");

        // A place behind the landing pad is asked for only where the kernel says that there is one: elsewhere it could be any instruction.
        _kernel.Changes.Any(static change => change.Contains(" iommu_unmap+9 ", StringComparison.Ordinal)).ShouldBe(error == Errno.IllegalSequence);
    }

    [Fact]
    public void What_is_not_traced_is_a_breakpoint_at_its_entry_already()
    {
        _kernel.Remove($"{FakeKernel.Tracing}/available_filter_functions");

        Record();

        _kernel.Changes.ShouldNotContain(static change => change.Contains("+5", StringComparison.Ordinal) || change.Contains("kprobes-optimization", StringComparison.Ordinal));
    }

    [Fact]
    public void Other_architectures_have_a_breakpoint_at_the_entry_already()
    {
        _kernel.Processor = "aarch64";

        Record();

        _kernel.Changes.ShouldNotContain(static change => change.Contains("+5", StringComparison.Ordinal) || change.Contains("sp=", StringComparison.Ordinal)
            || change.Contains("kprobes-optimization", StringComparison.Ordinal));
    }

    [Fact]
    public void A_switch_that_is_off_already_stays_off()
    {
        _kernel.Add(SwitchHolders.Path, "0\n");

        Record();

        _kernel.Changes.ShouldNotContain(static change => change.Contains("kprobes-optimization", StringComparison.Ordinal));
    }

    [Fact]
    public void A_switch_that_cannot_be_changed_is_a_note_and_leaves_nothing()
    {
        string[] before = _kernel.State();
        _kernel.Refuse = static (_, change) => change.EndsWith(SwitchHolders.Path, StringComparison.Ordinal) ? Errno.ReadOnly : Errno.Success;

        Record().Notes.ShouldHaveSingleItem().ShouldContain("kprobes-optimization could not be set to 0");

        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Of_two_recorders_the_last_to_end_switches_it_on_again(bool firstEndsFirst)
    {
        string[] before = _kernel.State();
        _kernel.AddProcess(50, 7);
        MachineChanges first = Begin();
        MachineChanges second = Begin(new(FakeKernel.Tracing, 50, 7));

        (firstEndsFirst ? first : second).UndoAll().ShouldBeEmpty();
        _kernel.IsOptimizing.ShouldBeFalse();
        (firstEndsFirst ? second : first).UndoAll().ShouldBeEmpty();

        _kernel.IsOptimizing.ShouldBeTrue();
        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    [Fact]
    public void What_a_killed_recorder_switched_off_the_next_one_switches_on()
    {
        string[] before = _kernel.State();
        Begin(new(FakeKernel.Tracing, 99, 1));
        _kernel.IsOptimizing.ShouldBeFalse();

        Leftovers.Clean(_kernel, FakeKernel.Tracing).ShouldContain(static line => line.Contains("on again (/proc/sys/debug/kprobes-optimization)", StringComparison.Ordinal));

        _kernel.IsOptimizing.ShouldBeTrue();
        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    [Fact]
    public void What_a_killed_recorder_and_a_living_one_need_off_stays_off_until_that_one_ends()
    {
        string[] before = _kernel.State();
        Begin(new(FakeKernel.Tracing, 99, 1));
        MachineChanges living = Begin();

        Leftovers.Clean(_kernel, FakeKernel.Tracing).ShouldNotBeEmpty();
        _kernel.IsOptimizing.ShouldBeFalse();
        living.UndoAll().ShouldBeEmpty();

        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    [Fact]
    public void What_cannot_be_switched_on_again_is_tried_again_by_the_next()
    {
        string[] before = _kernel.State();
        _kernel.Refuse = static (_, change) => change == $"1 > {SwitchHolders.Path}" ? Errno.IoError : Errno.Success;

        Record().Problems.ShouldHaveSingleItem().ShouldContain(SwitchHolders.Path);
        _kernel.Remove($"proc/{FakeKernel.Process}");
        Leftovers.Clean(_kernel, FakeKernel.Tracing).ShouldHaveSingleItem().ShouldContain("cannot be switched on again");
        _kernel.Refuse = null;
        Leftovers.Clean(_kernel, FakeKernel.Tracing).Count.ShouldBe(2);

        _kernel.ChangesSince(before).ShouldBeEmpty();
    }

    private RecordingPlan Plan(TracingSession? session = null) => RecordingPlan.Create(_kernel, session ?? _kernel.Session, new());

    /// <summary>Makes a recording's changes, which nothing takes back unless it is told to.</summary>
    private MachineChanges Begin(TracingSession? session = null)
    {
        RecordingPlan plan = Plan(session);
        MachineChanges changes = new(_kernel);
        changes.Apply(plan.Setup);
        changes.Apply(plan.Start);
        return changes;
    }

    /// <summary>A whole recording.</summary>
    private RecordingResult Record()
    {
        using TimedWork work = new(TimeSpan.FromMilliseconds(1));
        return RecordingRun.Record(_kernel, Plan(), new(), static () => new MemoryStream(), work, TestContext.Current.CancellationToken);
    }
}
