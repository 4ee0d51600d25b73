using Ioasis.Sva.Tests;
using Ioasis.Sva.Tests.Schedules;

namespace Ioasis.Mistakes.Tests;

/// <summary>Mistakes of processes' address spaces and their devices.</summary>
public sealed class ProcessMistakes
{
    [Fact]
    [Trait("Requirement", "S2.1")]
    public void A_PASID_that_is_freed_at_exit_without_a_drain() =>
        Explorer.Finds("FreedAtExitWithoutDrain", static () => new ExitAgainstDma());

    [Fact]
    [Trait("Requirement", "S2.2")]
    public void First_binds_that_do_not_exclude_each_other() =>
        Explorer.Finds("FirstBindUnlocked", static () => new TwoFirstBinds(false));

    [Fact]
    [Trait("Requirement", "S2.11")]
    public void Devices_that_are_told_after_the_reuse() =>
        Explorer.Finds("NotifierAfterReuse", static () => new ChangeAgainstDevice(MemoryChange.Unmap));

    [Fact]
    [Trait("Requirement", "S2.3")]
    public void A_bind_that_overwrites_data_of_another()
    {
        using MadeMistake made = new("DataOverwrittenByRebind");
        _ = Should.Throw<ShouldAssertException>(static () => new BindTests().Binding_again_gives_a_handle_of_its_own_and_leaves_the_others_data_alone());
    }

    [Fact]
    [Trait("Requirement", "S2.9")]
    public void A_private_PASID_that_outlives_its_handle()
    {
        using MadeMistake made = new("PrivatePasidLeaked");
        _ = Should.Throw<ShouldAssertException>(
            static () => new BindTests().A_private_PASID_belongs_to_its_handle_and_is_never_found_through_the_process());
    }

    [Fact]
    [Trait("Requirement", "S2.8")]
    public void An_unwind_that_frees_what_it_did_not_allocate()
    {
        using MadeMistake made = new("UnwindFreesForeignPasid");
        _ = Should.Throw<Exception>(static () => new BindTests().A_bind_that_fails_at_any_step_leaves_nothing_and_frees_nothing_of_others(true));
    }
}
